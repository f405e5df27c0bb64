"""The page: where on it things stand, and what is drawn anew when a person moves or clicks something."""

from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from foundation.errors import UserError

from .explored_run import WALKS, Place, Wanted, save_latents
from .views import NO_TRUNCATION, REACH, Given, RunView, Seen, about, heading

FONT = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")  # the machine's own: none is fetched
# Indigo, but dark enough for white letters on it and for its own on white: 4.5 to 1.
ACCENT = gr.themes.Color(
    **{f"c{shade}": getattr(gr.themes.colors.indigo, f"c{shade}") for shade in (50, *range(100, 1000, 100), 950)}
    | {"c500": "#5558ea"},
    name="accent",
)
THEME = gr.themes.Soft(
    primary_hue=ACCENT,
    neutral_hue="slate",
    font=FONT,
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(
    body_text_color_subdued="*neutral_500",
    input_border_width="1px",  # of the theme's own, none, white fields and boxes on white can't be seen
    input_border_color="*neutral_400",
    checkbox_border_color="*neutral_500",
    checkbox_label_border_color="*neutral_300",
    button_secondary_border_color="*neutral_300",
    block_title_background_fill="transparent",
    block_title_background_fill_dark="transparent",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_title_padding="0",
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_text_color="*body_text_color",
    block_label_text_color_dark="*body_text_color",
)
COUNTS, COUNT = [16, 36, 64, 100], 64
LIVE: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", "queue": True}
NARROWEST = 300  # pixels of a run's column: on a telephone they stand below each other
WALK_HINT = "Click two images, and see the way from one to the other."


def build_page(views: Sequence[RunView], seed: int) -> gr.Blocks:
    """The page of some runs, side by side, that begins with the samples of a seed."""
    title = " and ".join(view.run.name for view in views)
    with gr.Blocks(title=f"{title} · explorer", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            "<h1>Explorer</h1><p>What these models have learned. Nothing leaves this machine.</p>",
            elem_classes="title",
        )
        panels = [Panel(view, number, view.first(seed, COUNT)) for number, view in enumerate(views)]
        with gr.Tabs():
            with gr.Tab("Samples", elem_id="tab-samples"):
                samples_tab(page, panels, seed)
            with gr.Tab("Sliders", elem_id="tab-sliders"):
                in_columns(panels, lambda panel: panel.sliders(page))
            with gr.Tab("Your image", elem_id="tab-image"):
                image_tab(panels)
            with gr.Tab("Map", elem_id="tab-map"):
                in_columns(panels, lambda panel: panel.map(page))
            with gr.Tab("About", elem_id="tab-about"):
                in_columns(panels, lambda panel: html(about(panel.view.run), "about"))
    return page


def samples_tab(page: gr.Blocks, panels: "Sequence[Panel]", seed: int) -> None:
    with gr.Row(elem_classes="controls"):
        drawn = gr.Number(seed, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=120)
        count = gr.Radio(COUNTS, value=COUNT, label="Images", elem_id="count", min_width=240)
        again = gr.Button("Other samples", variant="primary", elem_id="again", scale=0, min_width=160)
    again.click(lambda before: int(before or 0) + 1, drawn, drawn, **PRIVATE)
    in_columns(panels, lambda panel: panel.samples(page, drawn, count))


def image_tab(panels: "Sequence[Panel]") -> None:
    given = gr.State(Given())
    with gr.Row():
        file = gr.File(label="An image of yours", type="filepath", elem_id="file", height=170, min_width=NARROWEST)
        with gr.Column(min_width=NARROWEST):
            inverts = gr.Checkbox(label="Invert it, as for dark ink on white paper", elem_id="inverts")
            with gr.Row(elem_classes="controls"):
                number = gr.Number(
                    0, label="Or an image that was held out of training", precision=0, minimum=0, elem_id="held-out",
                    min_width=160,
                )  # fmt: skip
                take = gr.Button("Take it", elem_id="take", scale=0, min_width=100)

    def of_file(path: str | None, inverts: bool) -> Given:
        return Given(Path(path), inverts) if path else Given()

    def of_data(number: float | None) -> Given:
        return Given(held_out=int(number or 0))

    changes = [
        gr.on([file.change, inverts.change], of_file, [file, inverts], given, **PRIVATE),
        take.click(of_data, number, given, **PRIVATE),
    ]
    in_columns(panels, lambda panel: panel.image(given, changes))


class Panel:
    """A run's column in each of the page's tabs, and what these share: where its sliders start."""

    def __init__(self, view: RunView, number: int, start: Place | None) -> None:
        self.view, self.run, self.number = view, view.run, number
        self.start = gr.State(start)  # None: the mean of all latents

    def id(self, name: str) -> str:
        return f"{name}-{self.number}"

    def picture(self, name: str, what: str, classes: str = "", visible: bool = True) -> gr.Image:
        """A place for a picture; `what` it shows is read out where it can't be seen."""
        return gr.Image(
            show_label=False, interactive=False, buttons=[], format="png", container=False, type="pil", visible=visible,
            alt_text=f"{what} of {self.run.name}", elem_id=self.id(name), elem_classes=["picture", *classes.split()],
        )  # fmt: skip

    def classes(self, name: str, label: str, nothing: str, matters: bool = True) -> gr.Dropdown:
        """A choice of the classes that the model knows, empty at first; not shown where it knows none."""
        choices = [(nothing, ""), *((known, known) for known in self.run.class_names)]
        return gr.Dropdown(
            choices, value="", label=label, elem_id=self.id(name), visible=bool(self.run.class_names) and matters,
            min_width=140,
        )  # fmt: skip

    # Samples

    def samples(self, page: gr.Blocks, seed: gr.Number, count: gr.Radio) -> None:
        view = self.view
        with gr.Row():
            variety = self._variety()
            label = self.classes("class", "Class", "all of them")
        wanted, picked, size = gr.State(None), gr.State([]), gr.State((1, 1))
        picture = self.picture("samples", "Samples", "clickable")
        message = html("", "message wrong")
        walk = self._walk(wanted, picked)
        command = gr.Textbox(
            label="The same images again", interactive=False, buttons=["copy"], lines=1, elem_id=self.id("command")
        )
        with gr.Row():
            nearest = gr.Button("Nearest training images", size="sm", elem_id=self.id("nearest"))
            latents = gr.DownloadButton("These latents (latents.npz)", size="sm", elem_id=self.id("latents"))
        closest, closest_message = (
            self.picture("closest", "Nearest training images of a sample", visible=False),
            html("", "message"),
        )

        def draw(seed: float, count: int, label: str, variety: float) -> tuple:
            asked = view.wanted(seed, count, label, variety)
            shown = view.samples(asked)
            return asked, [], shown.picture.size if shown.picture else (1, 1), shown.picture, shown.words

        def click(wanted: Wanted, picked: list[int], size: tuple[int, int], event: gr.SelectData) -> tuple:
            picked = view.clicked(wanted, picked, event.index, size)
            return picked, view.samples(wanted, picked).picture, self.run.place(wanted, picked[-1])

        def neighbours(wanted: Wanted, picked: list[int]) -> tuple:
            return in_place(view.nearest_to_sample(wanted, picked))

        def download(wanted: Wanted | None) -> str | None:
            if wanted is None:  # nothing could be drawn
                return None
            path = Path(gr.utils.get_upload_folder()) / f"{self.run.name}_seed{wanted.seed}" / "latents.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_latents(self.run.draw(wanted), path)
            return str(path)

        shown = [wanted, picked, size, picture, command]
        asked = [seed, count, label, variety]
        triggers = [page.load, seed.change, count.change, label.change, variety.release]
        drawn = gr.on(triggers, with_message(draw, (None, [], (1, 1), None, "")), asked, [*shown, message], **PRIVATE)
        drawn.then(download, wanted, latents, show_progress="hidden", **PRIVATE)
        clicked = picture.select(click, [wanted, picked, size], [picked, picture, self.start], **HIDDEN)
        for event in (drawn, clicked):
            event.then(walk.follow, walk.inputs, walk.outputs, **HIDDEN)
        looked = looking(nearest.click, closest_message)
        looked.then(with_message(neighbours, NOTHING), [wanted, picked], [closest, closest_message, message], **HIDDEN)

    def _variety(self) -> gr.Slider:
        """The slider of how various samples are, if this model has one."""
        options: dict[str, Any] = {"elem_id": self.id("variety"), "min_width": 200}
        if self.run.truncates:
            return gr.Slider(
                0.2, NO_TRUNCATION, NO_TRUNCATION, step=0.1, label="Truncation: the largest component of z",
                info="Smaller: likelier images of less variety. At the right end: as trained.", **options,
            )  # fmt: skip
        return gr.Slider(
            0, 2, 1, step=0.05, label="Temperature: distance from the mean of all latents",
            info="1: as they are drawn. Smaller: likelier images of less variety.", visible=self.run.is_tempered,
            **options,
        )  # fmt: skip

    def _walk(self, wanted: gr.State, picked: gr.State) -> "Walk":
        view = self.view
        if not self.run.interpolates:
            html(paragraph(self.run.no_paths), "limit")
        way = gr.Radio(
            list(WALKS), value=next(iter(WALKS)), label="Walk from one to the other along a", elem_id=self.id("way"),
            visible=self.run.interpolates,
        )  # fmt: skip
        message = html(paragraph(WALK_HINT) if self.run.interpolates else "", "message", self.id("walk-message"))
        strip = self.picture("walk", "A walk between two samples", visible=False)
        along = gr.Slider(0, 100, 50, step=1, label="How far, in percent", visible=False, elem_id=self.id("along"))
        here = self.picture("here", "An image on the walk", "large", visible=False)

        def follow(wanted: Wanted, picked: list[int], way: str, percent: float) -> tuple:
            seen = view.walk(wanted, picked, way)
            is_there = seen.picture is not None
            return (
                paragraph(seen.words), gr.update(value=seen.picture, visible=is_there), gr.update(visible=is_there),
                gr.update(value=view.on_the_way(wanted, picked, way, percent), visible=is_there),
            )  # fmt: skip

        inputs = [wanted, picked, way, along]
        way.change(follow, inputs, [message, strip, along, here], **HIDDEN)
        along.input(view.on_the_way, inputs, here, **LIVE, **PRIVATE)
        return Walk(follow, inputs, [message, strip, along, here])

    # Sliders

    def sliders(self, page: gr.Blocks) -> None:
        view = self.view
        if not self._has_directions():
            return
        with gr.Row():
            back = gr.Button("Back to the mean", size="sm", elem_id=self.id("mean"))
            level = gr.Button("Sliders to 0", size="sm", elem_id=self.id("level"))
        label = self.classes("class-of-sliders", "Class", "that of the start")
        here, message = (
            self.picture("moved", "The image of the sliders", "large"),
            html("", "message", self.id("moved-message")),
        )
        sliders: list[gr.Slider] = []
        with gr.Row(elem_classes="sliders"):
            for name, share in zip(view.directions.names, view.directions.shares.tolist(), strict=True):
                slider = gr.Slider(
                    -REACH, REACH, 0, step=0.1, label=f"{name} · {share:.0%}", buttons=[],
                    elem_id=self.id(f"slider-{len(sliders)}"),
                )  # fmt: skip
                sliders.append(slider)
        html(paragraph(self._what_sliders_are()), "message")
        rows, rows_message = self.picture("traversals", "Each slider from left to right"), html("", "message")

        moving, showing = [self.start, label, *sliders], [here, message]

        def move(start: Place | None, label: str, *values: float) -> tuple:
            seen = view.moved(start, values, label)
            return seen.picture, paragraph(f"From {seen.words}")

        def traverse(start: Place | None, label: str) -> tuple:
            seen = view.traversals(start, label)
            return seen.picture, paragraph(seen.words)

        def start_anew(start: Place | None, label: str) -> tuple:
            levelled = [0.0] * len(sliders)
            return *levelled, *move(start, label, *levelled)

        gr.on([slider.input for slider in sliders], move, moving, showing, **LIVE, **PRIVATE)
        centred = [self.start, *sliders, *showing]
        back.click(lambda label: (None, *start_anew(None, label)), label, centred, **HIDDEN)
        level.click(start_anew, moving[:2], [*sliders, *showing], **HIDDEN)
        # In one step, so that no slider that a person has moved by then is set back.
        begun = self.start.change(start_anew, moving[:2], [*sliders, *showing], **HIDDEN)
        for drawn in (begun, page.load(move, moving, showing, **HIDDEN), label.change(move, moving, showing, **HIDDEN)):
            drawn.then(traverse, moving[:2], [rows, rows_message], **HIDDEN)

    def _what_sliders_are(self) -> str:
        share = float(self.view.directions.shares.sum())
        what = (
            "They are components of z, those that change most in images"
            if self.view.directions.are_axes
            else "A GAN's components of z mean nothing by themselves; these are the directions that change most"
        )
        return (
            f"Standard deviations from the start, which is the image that was clicked or encoded last. {what}: "
            f"together {share:.0%}."
        )

    def _has_directions(self) -> bool:
        """Whether there are directions among the latents; says why not, where there are none."""
        try:
            reason = "" if self.run.interpolates and self.view.directions else self.run.no_paths
        except UserError as error:
            reason = str(error)
        if reason:
            html(paragraph(reason), "limit")
        return not reason

    # Images of a person's own

    def image(self, given: gr.State, changes: Sequence[Any]) -> None:
        view = self.view
        if not self.run.encodes:
            html(paragraph(self.run.limits[0]), "limit")
        label = self.classes("class-of-image", "Which class is it?", "not said yet", self.run.encodes)
        picture, words = (
            self.picture("reconstruction", "Your image and the reconstruction", visible=False),
            html("", "message", self.id("reconstruction-message")),
        )
        message = html("", "message wrong", self.id("image-wrong"))
        with gr.Row():
            nearest = gr.Button("Nearest training images", size="sm", elem_id=self.id("neighbours"))
            carry = gr.Button(
                "Carry it to the sliders", size="sm", elem_id=self.id("carry"),
                visible=self.run.encodes and self.run.interpolates,
            )  # fmt: skip
        closest = self.picture("neighbours-shown", "Nearest training images of your image", visible=False)
        closest_message = html("", "message", self.id("neighbours-message"))

        def reconstruct(given: Given, label: str) -> tuple:
            return *in_place(Seen(None, "") if given == Given() else view.reconstruction(given, label)), *NOTHING

        def neighbours(given: Given, label: str) -> tuple:
            return in_place(view.neighbours(given, label))

        def to_sliders(given: Given, label: str) -> tuple:
            place = view.encoded(given, label)
            return place, paragraph(f"The sliders now start from {place.words}.")

        shown = [picture, words, closest, closest_message, message]
        for event in changes:
            looking(event.then, words).then(
                with_message(reconstruct, (*NOTHING, *NOTHING)), [given, label], shown, **HIDDEN
            )
        label.change(with_message(reconstruct, (*NOTHING, *NOTHING)), [given, label], shown, **HIDDEN)
        looked = looking(nearest.click, closest_message)
        looked.then(with_message(neighbours, NOTHING), [given, label], [closest, closest_message, message], **HIDDEN)
        carry.click(
            with_message(to_sliders, (gr.skip(), "")), [given, label], [self.start, closest_message, message], **HIDDEN
        )

    # Map

    def map(self, page: gr.Blocks) -> None:
        view = self.view
        if not self._has_directions():
            return
        label = self.classes("class-of-map", "Class", "the first")
        picture, words = (
            self.picture("map", "A map of the latents", "clickable"),
            html("", "message", self.id("map-words")),
        )
        size, message = gr.State((1, 1)), html("", "message", self.id("map-message"))
        has_two = self.run.model.latent_shape == (2,)
        where = gr.Button("Where training images lie", size="sm", visible=has_two, elem_id=self.id("where"))
        points, points_message = (
            self.picture("scatter", "Where training images lie", visible=False),
            html("", "message"),
        )

        def draw(label: str) -> tuple:
            seen = view.map(label)
            return seen.picture, seen.picture.size if seen.picture else (1, 1), paragraph(seen.words)

        def click(label: str, size: tuple[int, int], event: gr.SelectData) -> tuple:
            place = view.at_map(label, event.index, size)
            return place, paragraph(f"The sliders now start from {place.words}.")

        def lie() -> tuple:
            return in_place(view.scatter())

        gr.on(
            [page.load, label.change],
            with_message(draw, (None, (1, 1), "")),
            label,
            [picture, size, words, message],
            **HIDDEN,
        )
        picture.select(click, [label, size], [self.start, message], **HIDDEN)
        looking(where.click, points_message).then(
            with_message(lie, NOTHING), None, [points, points_message, message], **HIDDEN
        )


class Walk(NamedTuple):
    """What follows where samples are picked."""

    follow: Callable[..., tuple]
    inputs: list[Any]
    outputs: list[Any]


PRIVATE: dict[str, Any] = {"api_visibility": "private"}  # a page's own, and no interface for programs
HIDDEN: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}


def in_columns(panels: Sequence[Panel], fill: Callable[[Panel], object]) -> None:
    """A column for each run, under its name."""
    with gr.Row():
        for panel in panels:
            with gr.Column(min_width=NARROWEST):
                html(heading(panel.run), "run-heading")
                fill(panel)


def html(text: str, classes: str, name: str | None = None) -> gr.HTML:
    return gr.HTML(text, elem_classes=classes.split(), elem_id=name, container=False, padding=False)


def paragraph(words: str) -> str:
    """Words as HTML, in which nothing of a run folder or a file's name is markup; they begin with a capital letter."""
    return f"<p>{escape(words[:1].upper() + words[1:])}</p>" if words else ""


def in_place(seen: Seen) -> tuple:
    """A picture that takes its place on the page when there is one, and its words."""
    return gr.update(value=seen.picture, visible=seen.picture is not None), paragraph(seen.words)


NOTHING = in_place(Seen(None, ""))


def looking(event: Callable, words: gr.HTML) -> Any:
    """At an event, say that something takes a while, as reading data does when it is first asked for."""
    return event(lambda: paragraph("Looking…"), None, words, **HIDDEN)


def with_message(handler: Callable, instead: tuple) -> Callable:
    """A handler that has one output more, for the words of a UserError; the others are `instead` then."""

    @wraps(handler)
    def handled(*arguments: Any) -> tuple:
        try:
            return (*handler(*arguments), "")
        except UserError as error:
            return (*instead, paragraph(str(error)))

    return handled
