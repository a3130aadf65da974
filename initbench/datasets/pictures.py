"""Image files as arrays of one size and range: turned, laid on a background, kept at their depth."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initbench.core.words import counted
from initbench.datasets.arrays import Array, Arrays, refuse_giant
from initbench.datasets.findings import narrow_bytes
from initbench.datasets.folders import LabelledImage, Listing
from initbench.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Only formats that Pillow decodes itself: EPS, for example, starts another program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
IN_FRAMES = ("PNG", "GIF", "WEBP", "TIFF")  # not JPEG: what cameras put behind the first image is a preview
GREY = {"1", "L", "LA", "La"}
CLEAR = {"LA", "La", "PA", "RGBA", "RGBa"}
ORIENTATION = 0x0112  # EXIF 2.32, 4.6.4 A
HIGHEST = 65535  # of 16 bits
WHITE, BLACK = 255, 0


@dataclass(frozen=True)
class _Header:
    """What the header of an image file says: Pillow's mode, (width, height) as shown, and what decoding will lose."""

    mode: str
    size: tuple[int, int]
    clear: bool
    frames: bool
    deep_colour: bool


@dataclass(frozen=True)
class _Form:
    """What all images become: `grey` or colour, bytes or, if `deep`, float32 up to 65535, on a `background`."""

    grey: bool
    deep: bool
    background: int = WHITE


def read_images(listing: Listing) -> Arrays:
    """Decode images: one grey channel where every image is grey, else three colours.

    They are bytes unless one has 16 bits: then all are float32 in 0..65535. Images are turned as their EXIF orientation
    says; transparent ones are laid on white, or on black where what shows of them is bright.

    Raises:
        DataError: an image is unreadable, of another size than the first, or of a kind that has no fixed range.
    """
    images = listing.images
    headers = [_open(image.path, _header) for image in images]
    _require_one_size(images, headers)
    deep = any(header.mode.startswith("I") for header in headers)
    form = _Form(all(header.mode in GREY or header.mode.startswith("I") for header in headers), deep)
    channels, (width, height) = 1 if form.grey else 3, headers[0].size
    refuse_giant(len(images) * channels * height * width * (4 if deep else 1), f"The images in {listing.folder}")
    clear = [image for image, header in zip(images, headers, strict=True) if header.clear]
    background, seen_through = _background(clear)
    form = _Form(form.grey, deep, background)
    arrays: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        own = [image for image in images if image.split == split]
        if not own:
            continue
        pixels = np.empty((len(own), channels, height, width), np.float32 if deep else np.uint8)
        for row, image in zip(pixels, own, strict=True):
            row[:] = _open(image.path, lambda opened: _pixels(opened, form))
        arrays |= {f"{split}_images": pixels, f"{split}_labels": np.array([image.label for image in own])}
    remarks = [*_remarks(headers), *_depth(arrays["train_images"])]
    if seen_through:
        remarks.append(
            f"{counted(seen_through, 'image')} with transparent pixels {'is' if seen_through == 1 else 'are'} laid on "
            f"{'white' if background == WHITE else 'black'}."
        )
    return Arrays(**arrays, notices=tuple(remarks))


def _header(image: "Image") -> _Header:
    width, height = image.size
    tiles = getattr(image, "tile", None)
    raw = str(tiles[0][3]) if tiles else ""  # how the file packs its pixels, "RGB;16B" for example
    frames = False
    with suppress(Exception):  # damage behind the first frame is no damage to it
        frames = image.format in IN_FRAMES and bool(getattr(image, "is_animated", False))
    sideways = _orientation(image) >= 5
    if sideways and image.format == "TIFF":
        (width, height), sideways = _loaded(image).size, False  # some versions of Pillow turn these when they open them
    return _Header(
        mode=image.mode,
        size=(height, width) if sideways else (width, height),
        clear=_is_clear(image),
        frames=frames,
        deep_colour=";16" in raw and not image.mode.startswith("I"),
    )


def _require_one_size(images: Sequence[LabelledImage], headers: Sequence[_Header]) -> None:
    first = headers[0].size
    for image, header in zip(images, headers, strict=True):
        if header.size != first:
            raise DataError(
                f"The image {image.path} is {'×'.join(map(str, header.size))} where {images[0].path} is "
                f"{'×'.join(map(str, first))}: make all images the same size."
            )
        if header.mode == "F":
            raise DataError(f"The image {image.path} contains floats, which have no fixed range: save 8 or 16 bits.")


def _remarks(headers: Sequence[_Header]) -> Iterator[str]:
    if moving := sum(header.frames for header in headers):
        yield f"{counted(moving, 'image')} with several frames: the first of each is read."
    if cut := sum(header.deep_colour for header in headers):
        yield (
            f"{counted(cut, 'image')} with 16 bits a colour: only the upper 8 are read. Save them as an .npz file to "
            f"keep all."
        )


def _depth(images: Array) -> Iterator[str]:
    if images.dtype == np.uint8:
        yield from narrow_bytes(images)
    elif (most := float(images.max())) <= HIGHEST / 4:
        yield (
            f"its 16-bit images reach {most:.0f} of {HIGHEST}, as those of a camera with fewer bits do: nothing is "
            f"lost, for images are standardized."
        )


def _background(images: Sequence[LabelledImage]) -> tuple[int, int]:
    """Return the background on which what is opaque stands out, and how many images have pixels that show it."""
    opaque, bright, seen_through = 0.0, 0.0, 0
    for image in images:
        weight, light = _open(image.path, _visible)
        opaque, bright = opaque + weight.sum(), bright + (weight * light).sum()
        seen_through += bool((weight < 255).any())
    return (BLACK if bright > opaque * 255 / 2 else WHITE), seen_through


def _visible(image: "Image") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (H, W) opacities and brightnesses, 0 to 255."""
    rgba = image.convert("RGBA")
    return np.asarray(rgba.getchannel("A"), np.float64), np.asarray(rgba.convert("RGB").convert("L"), np.float64)


def _pixels(image: "Image", form: _Form) -> Array:
    """Return (1 or 3, H, W): bytes, or float32 in 0..65535."""
    image = _turned(image)
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if not 0 <= levels.min() <= levels.max() <= HIGHEST:
            raise ValueError(f"it holds values from {levels.min()} to {levels.max()}, and 0 to {HIGHEST} are read")
        return np.repeat(levels[None].astype(np.float32), 1 if form.grey else 3, axis=0)
    if _is_clear(image):
        colours = _laid_on(np.asarray(image.convert("RGBA"), np.int32), form.background)
    else:
        colours = np.asarray(image.convert("L" if form.grey else "RGB"), np.int32)
        colours = colours[:, :, None] if form.grey else colours
    values = colours.transpose(2, 0, 1) * (HIGHEST // 255 if form.deep else 1)
    return values[:1] if form.grey else values


def _laid_on(rgba: NDArray[np.int32], background: int) -> NDArray[np.int32]:
    """Return (H, W, 3); an opaque pixel stays what it is to the bit."""
    opacity = rgba[:, :, 3:]
    return (rgba[:, :, :3] * opacity + background * (255 - opacity) + 127) // 255


def _is_clear(image: "Image") -> bool:
    return not image.mode.startswith("I") and (image.mode in CLEAR or "transparency" in image.info)


def _turned(image: "Image") -> "Image":
    """Return an image as its EXIF orientation says that it is to be seen."""
    from PIL.Image import Transpose  # noqa: PLC0415 - only image folders need it

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    if image.format == "TIFF":
        return _loaded(image)
    orientation = _orientation(image)
    return image.transpose(turns[orientation]) if orientation in turns else image


def _loaded(image: "Image") -> "Image":
    """Return a TIFF image decoded, which Pillow turns itself."""
    image.filename = ""  # type: ignore[attr-defined] # else it maps the file, and turns it to nonsense (Pillow 13.0)
    image.load()
    return image


def _orientation(image: "Image") -> int:
    """Return the EXIF orientation, 1 to 8, from the header; 1 where there is none."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole image to look behind it
    with suppress(Exception):  # damaged metadata is no damage to the image
        orientation = image.getexif().get(ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1
    return 1


def _open(path: Path, use: "Callable[[Image], Any]") -> Any:  # noqa: ANN401 - what `use` returns
    from PIL import Image  # noqa: PLC0415 - only image folders need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return use(image)
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise a dozen kinds on damaged bytes
        reason = (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
        reason = reason.replace(f" {str(path)!r}", "")  # Pillow repeats the path
        raise DataError(f"The image {path} cannot be read ({reason}): replace or remove it.") from None
