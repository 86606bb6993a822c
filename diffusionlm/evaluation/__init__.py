"""Evaluation: the likelihood bound with its standard error, the baselines beside it, and the report of both."""

from diffusionlm.evaluation.baselines import BaselineReport, ByteCounts, count_bytes, count_tokens, score_baselines
from diffusionlm.evaluation.ce_curve import CECurve, ce_curve
from diffusionlm.evaluation.diversity import Diversity, diversity
from diffusionlm.evaluation.judge import ByteJudge, judged_bits_per_byte
from diffusionlm.evaluation.likelihood import likelihood, report_of, score_windows
from diffusionlm.evaluation.objective_loss import objective_loss
from diffusionlm.evaluation.report import baseline_rows, reading, to_json, to_table, with_error
from diffusionlm.evaluation.sources import SourceReport, SourceSpan, select_spans, source_reports
from diffusionlm.evaluation.summary import Estimator, LikelihoodReport, WindowScores, summarise

__all__ = [
    "BaselineReport",
    "ByteCounts",
    "CECurve",
    "ByteJudge",
    "Diversity",
    "Estimator",
    "LikelihoodReport",
    "SourceReport",
    "SourceSpan",
    "WindowScores",
    "baseline_rows",
    "ce_curve",
    "count_bytes",
    "count_tokens",
    "diversity",
    "judged_bits_per_byte",
    "likelihood",
    "objective_loss",
    "reading",
    "report_of",
    "score_baselines",
    "score_windows",
    "select_spans",
    "source_reports",
    "summarise",
    "to_json",
    "to_table",
    "with_error",
]
