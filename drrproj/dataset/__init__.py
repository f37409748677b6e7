"""Datasets: from a folder of segmented CTs to annotated X-rays."""
