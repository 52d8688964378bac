"""Text in images, by the Tesseract that xberg carries: only the data of its languages must be on the machine.

Only ever called in the child process. xberg would fetch what is missing, so it is asked only where nothing is.
"""

import os
from pathlib import Path

import xberg

from index.parse.document import Limits

PLACES = (
    "/usr/share/tesseract-ocr/5/tessdata",  # Debian, Ubuntu
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tesseract/tessdata",  # Fedora, openSUSE
    "/usr/share/tessdata",  # Alpine, Arch
)
PAGE_SECONDS = 3  # of CPU that a page may take; most take one
REMEDY = (
    "let the server read it by installing Tesseract's data for '{}' (on Debian: tesseract-ocr-eng; or the folder that "
    "TESSDATA_PREFIX names), or run OCR on it yourself (for example ocrmypdf) and upload that"
)


def reader(limits: Limits) -> xberg.OcrConfig | None:
    """How xberg is to read images; None where the languages' data are not on this machine."""
    languages = limits.ocr.split("+") if limits.ocr else []
    for place in filter(None, (os.environ.get("TESSDATA_PREFIX"), *PLACES)):
        if languages and all((Path(place) / f"{language}.traineddata").is_file() for language in languages):
            return xberg.OcrConfig(
                backend="tesseract",
                language=languages,
                tessdata_path=place,
                # Told as the only stage: a second one would be another library, with models to fetch.
                pipeline=xberg.OcrPipelineConfig(
                    stages=[xberg.OcrPipelineStage(backend="tesseract", language=languages)],
                    quality_thresholds=xberg.OcrQualityThresholds(),
                ),
                tesseract_config=xberg.TesseractConfig(
                    language=languages, use_cache=False, enable_table_detection=False
                ),
            )
    return None


def most_pages(limits: Limits) -> int:
    return limits.cpu_seconds // PAGE_SECONDS


def remedy(limits: Limits) -> str:
    return REMEDY.format(limits.ocr or "eng")
