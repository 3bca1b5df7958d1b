"""What a family is and does, for people: a page, a card, a plot, a table."""

from concertina.report.card import card
from concertina.report.collect import file_data, report, report_data, write_report
from concertina.report.figures import ReportData
from concertina.report.page import page
from concertina.report.plots import pareto_svg
from concertina.report.tables import points_notes, points_table

__all__ = [
    "ReportData",
    "card",
    "file_data",
    "page",
    "pareto_svg",
    "points_notes",
    "points_table",
    "report",
    "report_data",
    "write_report",
]
