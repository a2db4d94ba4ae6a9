"""Finds what is wrong or risky now on a live cluster. The worst comes first.

>>> import outlive.doctor
>>> diagnosis = outlive.doctor.examine()  # doctest: +SKIP
>>> [finding.kind for finding in diagnosis.findings]  # doctest: +SKIP
['spent-owners', 'kept-node']
"""

from __future__ import annotations

from outlive.doctor.examine import examine
from outlive.doctor.model import Diagnosis, Evidence, Symptom, Unchecked

__all__ = ["Diagnosis", "Evidence", "Symptom", "Unchecked", "examine"]
