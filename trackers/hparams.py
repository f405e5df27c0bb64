"""The three summaries by which TensorBoard's HParams page knows a run: its columns, its settings, and that it ended."""

from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo


def hparams_summaries(settings: Mapping[str, Any], columns: Mapping[str, str]) -> list[Summary]:
    """Of a run with these settings, whose results are the last values of these tags, shown under other names.

    torch's own function for this shows tags as they are, and writes each result a second time.
    """
    settings = {name: str(value) if name == "seed" else value for name, value in settings.items()}  # not 0.0000
    infos = [HParamInfo(name=name, type=type_of(value)) for name, value in settings.items()]
    metrics = [MetricInfo(name=MetricName(tag=tag), display_name=shown) for tag, shown in columns.items()]
    start = SessionStartInfo()
    for name, value in settings.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = str(value)
    return [
        summary_of(metadata.EXPERIMENT_TAG, experiment=Experiment(hparam_infos=infos, metric_infos=metrics)),
        summary_of(metadata.SESSION_START_INFO_TAG, session_start_info=start),
        summary_of(metadata.SESSION_END_INFO_TAG, session_end_info=SessionEndInfo(status=STATUS_SUCCESS)),
    ]


def summary_of(tag: str, **content: Any) -> Summary:
    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])


def type_of(value: Any) -> Any:
    if isinstance(value, bool):
        return DATA_TYPE_BOOL
    return DATA_TYPE_FLOAT64 if isinstance(value, int | float) else DATA_TYPE_STRING
