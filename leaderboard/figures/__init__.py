"""Figures for papers, drawn with matplotlib (the extra `figures`): PDF, SVG and PNG, one and two columns wide."""
