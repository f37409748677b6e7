"""Datasets: from a folder of segmented CTs to annotated X-rays."""

from __future__ import annotations

from drrproj.dataset.build import build
from drrproj.dataset.cases import Case, find_cases
from drrproj.dataset.derive import derive
from drrproj.dataset.evaluation import compare
from drrproj.dataset.grounding import ground
from drrproj.dataset.one_case import Recipe
from drrproj.dataset.poses import Poses
from drrproj.dataset.quality import QualityLimits, findings
from drrproj.dataset.report import report
from drrproj.dataset.store import open_store
from drrproj.dataset.taxonomy import read_taxonomy

__all__ = [
    "Case",
    "Poses",
    "QualityLimits",
    "Recipe",
    "build",
    "compare",
    "derive",
    "find_cases",
    "findings",
    "ground",
    "open_store",
    "read_taxonomy",
    "report",
]
