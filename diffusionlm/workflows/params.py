"""The configuration of every command, composed of the parameter classes that live beside the code they configure."""

from diffusionlm.workflows.bench_params import BenchDataParams, BenchInferParams, BenchTokenizerParams, BenchTrainParams
from diffusionlm.workflows.command import CommandParams
from diffusionlm.workflows.compare_params import CompareParams
from diffusionlm.workflows.data_inspect_params import DataInspectParams
from diffusionlm.workflows.data_params import DataVerifyParams
from diffusionlm.workflows.methods_params import MethodsParams
from diffusionlm.workflows.prepare_params import MakeDataParams, TokenizerTrainParams
from diffusionlm.workflows.selftest_params import SelftestParams
from diffusionlm.workflows.train_params import RunParams, TrainParams
from diffusionlm.workflows.use_params import CheckpointParams, EvalParams, InferParams, InfillParams, InspectParams

__all__ = [
    "BenchDataParams",
    "BenchInferParams",
    "BenchTokenizerParams",
    "BenchTrainParams",
    "CheckpointParams",
    "CommandParams",
    "CompareParams",
    "DataInspectParams",
    "DataVerifyParams",
    "EvalParams",
    "InferParams",
    "InfillParams",
    "InspectParams",
    "MakeDataParams",
    "MethodsParams",
    "RunParams",
    "SelftestParams",
    "TokenizerTrainParams",
    "TrainParams",
]
