"""A folder that somebody broke, or made to break a report, is a row that says why; the others are reported."""

import csv
import json
from pathlib import Path

import pytest
import vl_convert
import yaml
from damaged_folders import DAMAGED, with_value
from PIL import Image
from report_runs import PROTOCOLS, Page, make_run

from reports import write_report
from reports.data_sets import data_sets_of
from reports.page import section_of
from reports.run_folders import find_runs
from run_folder.curves import read_rows
from run_folder.kept_config import read_plain
from run_folder.records import RecordError, RunRecord, read_record


def reported(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of results.csv by run."""
    write_report([folder], folder / "report")
    with open(folder / "report" / "results.csv", newline="") as file:
        return {Path(row["run"]).name: row for row in csv.DictReader(file)}


def test_the_report_of_hostile_folders_has_a_row_for_each_and_the_rest(tmp_path: Path):
    for seed, model in enumerate(("vae", "gan")):
        make_run(tmp_path / f"sound {model}", model, "digits", seed, 3.0 + seed)
    for name, (file, damage, _) in DAMAGED.items():
        damage(make_run(tmp_path / name, "vae", "digits", 7, 5.0) / file)
    rows = reported(tmp_path)
    assert rows.keys() == {*DAMAGED, "sound vae", "sound gan"}
    for name, (file, _, words) in DAMAGED.items():
        assert words in rows[name]["message"], (name, rows[name]["message"])
        assert rows[name]["status"] == ("finished" if file == "metrics.csv" else "damaged"), name
        assert len(rows[name]["message"]) < 700
    assert rows["sound vae"]["status"] == "finished" and rows["sound vae"]["message"] == ""


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("scores", "test/fid_reference", "value"), 1e308),
        (("scores", "test/fid_reference", "std"), 1e308),
        (("seconds",), 1e-308),
        (("images_seen",), 1e300),
        (("model",), "$\\frac{" + "x" * 5000),
        (("parameters",), {"total": -1e308}),
        (("kl_by_dimension",), [1e308] * 3),
        (("notes",), {"x": ["\x00<script>\x1b"]}),
    ],
)
def test_extreme_values_end_no_report(keys: tuple[str, ...], value: object, tmp_path: Path):
    for seed in range(3):
        make_run(tmp_path / f"gan {seed}", "gan", "digits", seed, 3.0 + seed / 10)
        with_value(*keys, value=value)(make_run(tmp_path / f"vae {seed}", "vae", "digits", seed, 5.0) / "metrics.json")
    assert len(reported(tmp_path)) == 6


def test_what_a_reader_would_run_is_text(tmp_path: Path):
    evil = '=HYPERLINK("http://x")<img src=x onerror=alert(1)>[a](javascript:x)|`$x$'
    for seed, fid in ((0, 3.0), (1, 4.0)):
        folder = make_run(tmp_path / f"@run {seed}", evil, "digits", seed, fid, evil=["-1+1", "+x"][seed])
        with_value("protocols", value={f"`<b>{evil}": PROTOCOLS["aaaa1111"]})(folder / "metrics.json")
        record = json.loads((folder / "metrics.json").read_text())
        for score in record["scores"].values():
            score["protocol"] = f"`<b>{evil}"
        (folder / "metrics.json").write_text(json.dumps(record))
    reported(tmp_path)
    out = tmp_path / "report"
    with open(out / "results.csv", newline="") as file:
        for row in csv.reader(file):
            for cell in row:
                is_number = cell.lstrip("+-").replace(".", "").isdigit()
                assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell
    markdown = (out / "report.md").read_text()
    assert "HYPERLINK" in markdown and "<img" not in markdown and "<b>" not in markdown
    assert "[a](" not in markdown
    page = Page((out / "index.html").read_text())
    assert not page.problems and not any("onerror" in dict(attributes) for _, attributes in page.tags)
    assert {tag for tag, _ in page.tags} >= {"table"} and ("img", {"src": "x"}) not in page.tags


def test_pictures_that_are_not_the_runs_are_not_shown(tmp_path: Path):
    run = make_run(tmp_path / "runs" / "run", "gan", "digits", 0, 3.0)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)
    for name in ("samples_fixed_final", "interpolation_slerp_final"):
        (run / "pictures" / f"{name}.png").unlink()
        (run / "pictures" / f"{name}.png").symlink_to(secret)
    reported(tmp_path / "runs")
    assert "data:image" not in (tmp_path / "runs" / "report" / "index.html").read_text()


def test_a_picture_of_many_pixels_is_left_out(tmp_path: Path):
    run = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    for name in ("samples_fixed_final", "interpolation_slerp_final"):
        Image.new("1", (8000, 8000)).save(run / "pictures" / f"{name}.png")  # a few kB
    reported(tmp_path)
    assert "data:image" not in (tmp_path / "report" / "index.html").read_text()


def test_what_is_sound_is_read_as_it_is(tmp_path: Path):
    content = {"seed": 2**40, "a": {"b": [1.5, None, True, "x"]}, "choices": {"model/prior": "vamp"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert read_plain(tmp_path / "config.yaml") == content
    run = make_run(tmp_path / "run", "gan", "digits", 0, 3.0)
    assert len(read_rows(run / "metrics.csv")) == 6
    with pytest.raises(RecordError, match="is a folder"):
        read_record(tmp_path, RunRecord)


def test_runs_are_found_by_links_and_named_by_them(tmp_path: Path):
    far, links = tmp_path / "far", tmp_path / "links"
    links.mkdir()
    one = make_run(far / "one", "vae", "digits", seed=0, fid=3.0)
    make_run(far / "sweeps" / "today" / "two", "vae", "digits", seed=1, fid=4.0)
    (links / "first").symlink_to(one)
    (links / "again").symlink_to(one)
    (links / "sweeps").symlink_to(far / "sweeps")
    (links / "gone").symlink_to(far / "gone")
    (links / "round").symlink_to(links)
    runs = find_runs([links])
    assert sorted(run.name for run in runs) == ["again", "sweeps/today/two"]  # each once
    write_report([links])
    assert "2 runs: 2 finished" in (links / "report" / "report.md").read_text()


def test_link_to_a_whole_disk_is_not_followed_far(tmp_path: Path):
    """A stranger's folder can have a link to anywhere."""
    make_run(tmp_path / "given" / "run", "vae", "digits", seed=0, fid=3.0)
    make_run(tmp_path / "disk" / "a" / "b" / "c" / "d", "vae", "digits", seed=1, fid=3.0)
    make_run(tmp_path / "disk" / "a" / "b" / "near", "vae", "digits", seed=2, fid=3.0)
    (tmp_path / "disk" / "a" / "more").symlink_to(tmp_path / "disk" / "a" / "b" / "c")
    (tmp_path / "given" / "link").symlink_to(tmp_path / "disk")
    assert [run.name for run in find_runs([tmp_path / "given"])] == ["link/a/b/near", "run"]


def test_names_in_charts_and_samples_are_text(tmp_path: Path):
    evil = "</script><img src=x onerror=alert(1)><!-- <script>"
    for seed, fid in enumerate((3.0, 4.0, 5.0)):
        run = make_run(tmp_path / f"run {seed}", evil, "digits", seed, fid)
        for epoch in (1, 2):
            Image.new("RGB", (8, 8)).save(run / "pictures" / f"samples_fixed_epoch_{epoch:04d}.png")
    reported(tmp_path)
    text = (tmp_path / "report" / "index.html").read_text()
    page = Page(text)
    assert not page.problems and not any("onerror" in dict(attributes) for _, attributes in page.tags)
    before = text.split('<script id="vega">')[0]
    assert "<img src=x" not in before and "<!--" not in before
    data = before.split('<script type="application/json">')[1:]
    names = [json.loads(part.split("</script>")[0]) for part in data]
    assert len(names) > 3 and f"{evil} (mlp)" in json.dumps(names)


@pytest.mark.parametrize("name", ["end\\", 'a\\": ', '"', "a\nb", "\\n", "${x}' + alert(1) + '"])
def test_charts_are_drawn_under_any_names(name: str, tmp_path: Path):
    """Of a term, of a score and of a model."""
    for seed, fid in enumerate((3.0, 4.0)):
        run = make_run(tmp_path / f"run {seed}", name, "digits", seed, fid)
        with open(run / "metrics.csv", newline="") as file:
            heading, *rows = csv.reader(file)
        with open(run / "metrics.csv", "w", newline="") as file:
            csv.writer(file).writerows([[*heading[:3], f"train/{name}", *heading[4:]], *rows])
        record = json.loads((run / "metrics.json").read_text())
        decides = {f"test/fid {name}_reference": record["scores"].pop("test/fid_reference")}
        record["scores"] = decides | record["scores"]
        (run / "metrics.json").write_text(json.dumps(record))
    (data_set,) = data_sets_of(find_runs([tmp_path]))
    section = section_of(data_set)
    assert name in [chart.title for chart in section.losses]
    assert any(name in chart.title for chart in section.deciding)
    for chart in section.deciding + section.seeds + section.scores + section.losses:
        assert "<svg" in vl_convert.vegalite_to_svg(chart.spec), chart.title


def expressions(spec: object) -> list[str]:
    """All that Vega computes in a chart: the page parses these itself, and has not all of JavaScript."""
    if isinstance(spec, list):
        return [found for part in spec for found in expressions(part)]
    if not isinstance(spec, dict):
        return []
    own = [text for key in ("expr", "test", "signal", "update") if isinstance(text := spec.get(key), str)]
    return own + expressions(list(spec.values()))


def test_no_model_s_name_is_computed_by_a_chart(tmp_path: Path):
    """A line separator, which JSON allows in a text and the page's interpreter of expressions does not."""
    name = "a\u2028b"
    for seed, fid in enumerate((3.0, 4.0)):
        make_run(tmp_path / f"run {seed}", name, "digits", seed, fid)
        make_run(tmp_path / f"gan {seed}", "gan", "digits", seed, fid)
    (data_set,) = data_sets_of(find_runs([tmp_path]))
    section = section_of(data_set)
    for chart in section.deciding + section.seeds + section.scores + section.losses:
        computed = expressions(vl_convert.vegalite_to_vega(chart.spec))
        assert computed and not any("\u2028" in text for text in computed), chart.title


def test_samples_that_are_not_the_runs_are_not_looked_through(tmp_path: Path):
    run = make_run(tmp_path / "runs" / "run", "gan", "digits", 0, 3.0)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    for path in (run / "pictures").iterdir():
        path.unlink()
    for epoch in (1, 2):
        (run / "pictures" / f"samples_fixed_epoch_{epoch:04d}.png").symlink_to(tmp_path / "secret.png")
    (run / "pictures" / "samples_fixed_epoch_0003.png").write_bytes(b"no picture")
    reported(tmp_path / "runs")
    assert "data:image" not in (tmp_path / "runs" / "report" / "index.html").read_text()


def test_a_run_that_failed_before_it_had_a_config_shares_its_name_with_one_that_has_a_score(tmp_path: Path):
    make_run(tmp_path / "sound", "vae", "digits", 0, 3.0)
    (tmp_path / "failed").mkdir()
    end = {"status": "failed", "message": "seed: at least 0", "model": "vae (mlp)", "data": "digits", "seed": -1}
    (tmp_path / "failed" / "status.json").write_text(json.dumps(end))
    assert reported(tmp_path).keys() == {"sound", "failed"}


def test_a_run_that_has_lost_its_config_is_a_row(tmp_path: Path):
    for seed in (0, 1):
        make_run(tmp_path / f"run_{seed}", "vae", "digits", seed, 3.0)
    (tmp_path / "run_1" / "config.yaml").unlink()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "metrics.json").write_text('{"accuracy": 0.9}')  # another program's
    assert sorted(run.name for run in find_runs([tmp_path])) == ["run_0", "run_1"]
