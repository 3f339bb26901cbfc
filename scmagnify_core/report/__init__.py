"""The report: one self-contained HTML page of one data set's results, for readers who know none of the platform.

===============  =====================================================================================
``inputs``       what a report is made of: tables, and the materializations that they came from
``summary``      the results in figures and sentences, computed from the tables
``figures``      matplotlib figures as parts of a page
``interactive``  what the choosers of the page draw from, in few bytes
``provenance``   settings, files, versions and queries that the results go back to
``page``         the sections, and the page itself
===============  =====================================================================================

``page.html.j2``, ``page.css`` and ``page.js`` are the template.
"""

from scmagnify_core.report.inputs import MethodResult, Origin, ReportInput
from scmagnify_core.report.page import render_report

__all__ = ["MethodResult", "Origin", "ReportInput", "render_report"]
