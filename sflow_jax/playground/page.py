"""The page, in Gradio: choices on the left, pictures on the right."""

import pathlib
from collections.abc import Mapping
from typing import Any

import gradio as gr

from sflow_jax.data import photographs
from sflow_jax.errors import InputError
from sflow_jax.inference import TrainedModel
from sflow_jax.methods.sflow_usage import MEMBERS
from sflow_jax.playground.drawing import Controls, default_controls, draw
from sflow_jax.playground.scene import Scene, uploaded_scene

_MOST_VARIANTS = 8
_KEPT_SECONDS = 3600  # of uploads and results
# Small pictures are enlarged, pixel by pixel; on a narrow screen they come before the choices.
_STYLE = """
footer {display: none !important}
.picture button:has(img), .picture .image-frame, .picture img {width: 100% !important}
.picture img {image-rendering: pixelated; object-fit: contain !important}
.picture .thumbnail-item {aspect-ratio: auto !important}
.caption p {margin: 0; font-weight: 600}
.weights .head {flex-wrap: nowrap; gap: 6px}
.weights .head input {width: 100%; min-width: 0}
@media (max-width: 767px) {.choices {order: 2}}
"""


def make_page(model: TrainedModel, scenes: Mapping[str, Scene]) -> gr.Blocks:
    """Lays out the page and connects its parts.

    Args:
        model: a trained generator that sees DNED's edges.
        scenes: to choose from, by name; may be empty.
    """
    with gr.Blocks(
        title="S-Flow GAN", analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)
    ) as page:
        gr.Markdown(f"# S-Flow GAN\nStep {model.step}. A label map and the edges of a CG frame go "
                    "in, a picture comes out. Changes are drawn at once.")  # fmt: skip
        with gr.Row():
            with gr.Column(scale=2, min_width=280, elem_classes="choices"):
                choices = _scene_choices(scenes)
                sliders = _sliders(model)
            with gr.Column(scale=5, min_width=320):
                pictures = _pictures()
        inputs = [*choices, *sliders]

        def redraw(*values: Any) -> list[Any]:
            return _redraw(model, scenes, *values)

        gr.on(
            [page.load, *(control.change for control in inputs)],
            redraw, inputs, pictures,
            trigger_mode="always_last", show_progress="minimal", api_visibility="private",
        )  # fmt: skip
    return page


def serve(page: gr.Blocks, host: str, port: int, wait: bool = True) -> str:
    """Serves a page until the process ends.

    Args:
        page: from `make_page`.
        host: the address to listen at.
        port: likewise.
        wait: False returns at once.

    Returns:
        The address of the page.

    Raises:
        InputError: the address cannot be used.
    """
    try:
        _, url, _ = page.queue().launch(
            server_name=host, server_port=port, share=False, ssr_mode=False, quiet=True,
            footer_links=[], enable_monitoring=False, mcp_server=False, prevent_thread_lock=True,
            theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=_STYLE,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise InputError(f"--host, --port: found {host}:{port}: {error}") from error
    print(f"{url}  (ends with Ctrl-C)", flush=True)
    if wait:
        page.block_thread()
    return url


def _scene_choices(scenes: Mapping[str, Scene]) -> list[gr.components.Component]:
    names = list(scenes)
    scene = gr.Dropdown(names, value=names[0] if names else None, label="Scene of the test split")
    with gr.Accordion("Your own scene", open=not names):
        gr.Markdown("Two files of one size: a label map (PNG with the run's class ids, 8 bits per "
                    "pixel) and the simulator's frame (PNG, JPEG, ...). Both replace the scene "
                    "above.")  # fmt: skip
        label = gr.File(label="Label map", file_types=[".png"], type="filepath", height=90)
        formats = [".png", *photographs.SUFFIXES]
        frame = gr.File(label="CG frame", file_types=formats, type="filepath", height=90)
    return [scene, label, frame]


def _sliders(model: TrainedModel) -> list[gr.components.Component]:
    start = default_controls(model)
    gr.Markdown("Ensemble weights: DNED's side outputs from the finest, d1, to the coarsest, d5, "
                "and their fusion", elem_classes="caption")  # fmt: skip
    with gr.Group(elem_classes="weights"), gr.Row():
        weights = [
            gr.Slider(0, 1, round(weight, 2), step=0.01, label=name, min_width=130)
            for name, weight in zip(MEMBERS, start.weights, strict=True)
        ]
    edges = gr.Slider(
        0.01, 0.5, round(start.edges, 3), step=0.01,
        label="Threshold of edges"
        if model.config.edges.quantile is None
        else "Threshold of edges: share of the pixels",
    )  # fmt: skip
    seed = gr.Number(start.seed, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    variants = gr.Slider(1, _MOST_VARIANTS, start.num_variants, step=1, label="Variants")
    return [*weights, edges, seed, variants]


def _pictures() -> list[gr.blocks.Block]:
    with gr.Row():
        guides = [_picture("Label map"), _picture("CG frame")]
    with gr.Row():
        made = [_picture("Edge map"), _picture("DNED's map"), _picture("Result")]
    with gr.Column(visible=False) as variants:
        gr.Markdown("Variants: other weights and colors", elem_classes="caption")
        gallery = gr.Gallery(
            label="Variants", show_label=False, format="png", columns=2, interactive=False,
            buttons=["download_all"], height="auto", object_fit="contain", elem_classes="picture",
        )  # fmt: skip
    return [*guides, *made, gallery, variants]


def _picture(caption: str) -> gr.Image:
    with gr.Column(min_width=150):
        gr.Markdown(caption, elem_classes="caption")
        return gr.Image(
            label=caption, show_label=False, alt_text=caption, format="png", interactive=False,
            buttons=["download", "fullscreen"], elem_classes="picture",
        )  # fmt: skip


def _path(text: str | None) -> pathlib.Path | None:
    return pathlib.Path(text) if text else None


def _redraw(
    model: TrainedModel,
    scenes: Mapping[str, Scene],
    name: str | None,
    label: str | None,
    frame: str | None,
    *values: Any,
) -> list[Any]:
    *weights, edges, seed, num_variants = values
    try:
        if label or frame or name is None:
            scene = uploaded_scene(_path(label), _path(frame), model.class_table)
        else:
            scene = scenes[name]
        drawing = draw(model, scene, Controls(weights, edges, int(seed or 0), int(num_variants)))
    except InputError as error:
        raise gr.Error(str(error), title="", duration=None, print_exception=False) from error
    made = [drawing.laplacian, drawing.edge_map, drawing.pictures[0], drawing.pictures]
    variants = gr.Column(visible=len(drawing.pictures) > 1)
    return [drawing.label, drawing.edge_image, *made, variants]
