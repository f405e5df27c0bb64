"""What a stranger's config.yaml may name to have a deed done, and where in it."""

import copy
from pathlib import Path
from typing import Any

CANARY = "canary"
# Each does something to the canary, or what is worse: (target, arguments).
TOUCH = "open('{canary}', 'w').close()"
HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("sympy.sympify", {"a": f"exec({TOUCH!r})"}),
    ("sympy.parsing.sympy_parser.parse_expr", {"s": f"exec({TOUCH!r})"}),
    ("torch.load", {"f": "{folder}/evil.pt", "weights_only": False}),
    ("torch.serialization.load", {"f": "{folder}/evil.pt", "weights_only": False}),
    ("torch.hub.load", {"repo_or_dir": "{folder}", "model": "evil", "source": "local"}),
    ("torch.hub.download_url_to_file", {"url": "file://{folder}/config.yaml", "dst": "{canary}"}),
    ("torch.save", {"obj": 1, "f": "{canary}"}),
    ("torch.jit.load", {"f": "{folder}/evil.pt"}),
    ("torch.utils.cpp_extension.load", {"name": "evil", "sources": ["{folder}/evil.cpp"]}),
    ("os.system", {"command": "touch {canary}"}),
    ("os.popen", {"cmd": "touch {canary}"}),
    ("os.mkdir", {"path": "{canary}"}),
    ("os.makedirs", {"name": "{canary}"}),
    ("os.remove", {"path": "{folder}/config.yaml"}),
    ("os.symlink", {"src": "/etc", "dst": "{canary}"}),
    ("posix.system", {"command": "touch {canary}"}),
    ("subprocess.run", {"args": ["touch", "{canary}"]}),
    ("subprocess.Popen", {"args": ["touch", "{canary}"]}),
    ("subprocess.check_output", {"args": "touch {canary}", "shell": True}),
    ("subprocess.getoutput", {"cmd": "touch {canary}"}),
    ("builtins.eval", {"_args_": [f"exec({TOUCH!r})"]}),
    ("builtins.exec", {"_args_": [TOUCH]}),
    ("builtins.open", {"file": "{canary}", "mode": "w"}),
    ("builtins.__import__", {"name": "evil_module"}),
    ("io.open", {"file": "{canary}", "mode": "w"}),
    ("runpy.run_path", {"path_name": "{folder}/evil_module.py"}),
    ("importlib.import_module", {"name": "evil_module"}),
    ("timeit.timeit", {"stmt": TOUCH, "number": 1}),
    ("code.interact", {"banner": "come in"}),
    ("pickle.loads", {"_args_": ["x"]}),
    ("pdb.run", {"statement": TOUCH}),
    ("cProfile.run", {"statement": TOUCH}),
    ("hydra.utils.instantiate", {"config": {"_target_": "builtins.open", "file": "{canary}", "mode": "w"}}),
    ("hydra.utils.call", {"config": {"_target_": "builtins.open", "file": "{canary}", "mode": "w"}}),
    ("hydra.utils.get_method", {"path": "evil_module.deed"}),
    ("hydra.utils.get_class", {"path": "evil_module.Deed"}),
    ("hydra.utils.get_object", {"path": "evil_module.deed"}),
    ("hydra._internal.utils._locate", {"path": "evil_module.deed"}),
    ("omegaconf.OmegaConf.save", {"config": {"a": 1}, "f": "{canary}"}),
    ("jinja2.Template", {"source": "{{{{ cycler.__init__.__globals__.os.system('touch {canary}') }}}}"}),
    ("jinja2.Environment.from_string", {"source": "{{{{ 1 }}}}"}),
    ("pathlib.Path", {"_args_": ["{canary}"]}),
    ("pathlib.Path.touch", {"_args_": [{"_target_": "pathlib.Path", "_args_": ["{canary}"]}]}),
    ("pathlib.Path.write_text", {"_args_": [{"_target_": "pathlib.Path", "_args_": ["{canary}"]}, "x"]}),
    ("shutil.copyfile", {"src": "{folder}/config.yaml", "dst": "{canary}"}),
    ("shutil.rmtree", {"path": "{folder}"}),
    ("shutil.unpack_archive", {"filename": "{folder}/evil.zip", "extract_dir": "{canary}"}),
    ("tempfile.mkdtemp", {"dir": "{folder}"}),
    ("urllib.request.urlretrieve", {"url": "file://{folder}/config.yaml", "filename": "{canary}"}),
    ("numpy.save", {"file": "{canary}", "arr": [1]}),
    ("numpy.load", {"file": "{folder}/evil.npy", "allow_pickle": True}),
    ("pandas.read_pickle", {"filepath_or_buffer": "{folder}/evil.pt"}),
    ("pandas.eval", {"expr": "@__import__('os')"}),
    ("joblib.load", {"filename": "{folder}/evil.pt"}),
    ("matplotlib.pyplot.savefig", {"fname": "{canary}"}),
    ("PIL.Image.open", {"fp": "{folder}/x.png"}),
    ("yaml.unsafe_load", {"stream": "!!python/object/apply:os.system ['touch {canary}']"}),
    # conf/ names it, at another place.
    ("trackers.tensorboard_tracker.TensorBoardTracker", {"folder": "{canary}", "hyperparameters": "all"}),
    ("evil_module.Deed", {}),
    # This project's own, which conf/ does not name.
    ("scoring.weight_files.fetch_weights", {"choice": "x", "url": "file://{folder}/config.yaml", "path": "{canary}",
                                            "sha256_prefix": ""}),
    ("foundation.atomic.write_atomically", {"path": "{canary}", "write": "x"}),
    ("run_folder.records.write_record", {"path": "{canary}", "record": 1}),
    ("run_folder.weights.read_weights", {"path": "{folder}/x"}),
    ("jobs.command_line.run", {"main": "x"}),
    ("jobs.samples.write_samples", {"model": 1, "count": 1, "seed": 1, "out": "{canary}"}),
    ("jobs.sweeps.FolderNames", {}),  # conf/ names it, for Hydra
    ("reports.page.write_report", {"folders": ["{folder}"], "out": "{canary}"}),
    ("train.train", {"cfg": 1}),
]  # fmt: skip
# Others, of which it is enough that they are named: ways to code, files, processes, networks and loaders of objects.
MORE = """
antigravity.webbrowser asyncio.create_subprocess_shell ast.literal_eval bdb.Bdb builtins.compile builtins.getattr
builtins.globals builtins.input builtins.vars builtins.type bz2.open codeop.compile_command codecs.open
concurrent.futures.ProcessPoolExecutor copyreg.__newobj__ csv.writer ctypes.CDLL ctypes.PyDLL dbm.open dill.loads
distutils.spawn.spawn doctest.testfile ensurepip.bootstrap fileinput.input ftplib.FTP functools.partial
functools.reduce gzip.open http.client.HTTPConnection http.server.HTTPServer importlib.reload importlib.util.find_spec
inspect.getattr_static itertools.starmap joblib.dump logging.config.dictConfig logging.FileHandler lzma.open
mailbox.mbox marshal.loads mmap.mmap multiprocessing.Process operator.attrgetter operator.methodcaller os.chmod
os.dup2 os.execv os.fork os.kill os.open os.putenv os.rename os.spawnl os.startfile os.truncate os.unlink
pathlib.Path.chmod pathlib.Path.unlink pickle.load pickle.Unpickler pip.main pkgutil.resolve_name platform.popen
profile.run pty.spawn pydoc.locate py_compile.compile resource.setrlimit sched.scheduler shelve.open
signal.raise_signal site.main socket.create_connection socketserver.TCPServer sqlite3.connect sys.exit sys.settrace
sys.setrecursionlimit tarfile.open tempfile.NamedTemporaryFile threading.Thread torch.package.PackageImporter
torch.ops.load_library torch.classes.load_library torch.utils.data.DataLoader torch.hub.load_state_dict_from_url
torchvision.io.write_file trace.Trace types.CodeType types.FunctionType unittest.main urllib.request.urlopen
venv.create webbrowser.open xmlrpc.client.ServerProxy zipfile.ZipFile zipimport.zipimporter numpy.fromfile
numpy.memmap numpy.f2py.compile pandas.read_csv pandas.DataFrame.to_pickle PIL.ImageShow.show PIL.ImageGrab.grab
matplotlib.image.imsave scipy.io.loadmat sklearn.datasets.fetch_openml safetensors.torch.load_file
lightning.pytorch.cli.LightningCLI lightning.Trainer hydra.main hydra.compose
omegaconf.OmegaConf.register_new_resolver evaluate.main explore.main export.main report.main
jobs.exporting.export explorer.serving.explore
jobs.sweep_jobs.left_to_jobs foundation.atomic.remove_orphans foundation.locks.FolderLock
run_folder.checkpoints.export_weights callbacks.checkpoints.RunCheckpoint scoring.weight_files.sha256
""".split()  # noqa: SIM905
EVIL_MODULE = """
from pathlib import Path
Path({canary!r}).touch()
class Deed:
    def __reduce__(self):
        return Path.touch, (Path({canary!r}),)
def deed(): ...
"""
PLACES = [
    "model.likelihood",
    "model",
    "data",
    "scores.extractor",
    "callbacks.curves",
    "model.optimizer.lr",
    "new.list.0",
]


def filled(node: Any, folder: Path) -> Any:
    """What is to be built, with the paths of this test."""
    if isinstance(node, dict):
        return {key: filled(value, folder) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, folder) for value in node]
    return node.format(canary=folder.parent / CANARY, folder=folder) if isinstance(node, str) else node


def put(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of a config with something in another place."""
    config = copy.deepcopy(config)
    node: Any = config
    *above, last = place.split(".")
    for name in above:
        node = node[int(name)] if isinstance(node, list) else node.setdefault(name, [None] if name == "list" else {})
    node[int(last) if isinstance(node, list) else last] = value
    return config
