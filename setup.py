"""Package metadata; tool settings are in pyproject.toml, tested versions in constraints.txt."""

import pathlib

from setuptools import find_packages, setup

_DOCS = ["furo", "myst-parser", "sphinx"]

setup(
    name="sflow-jax",
    version="0.1.0",
    description="S-Flow GAN: photorealistic images and video from simulator frames, in JAX",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    packages=find_packages(include=["sflow_jax", "sflow_jax.*"]),
    package_data={
        "sflow_jax": ["py.typed", "templates/*"],
        "sflow_jax.pretrained": ["*.safetensors", "*.json"],
    },
    # What they run is in sflow_jax/console.py.
    entry_points={
        "console_scripts": [
            f"sflow-{name} = sflow_jax.console:main"
            for name in (
                "train",
                "prepare",
                "sample",
                "translate",
                "evaluate",
                "demo",
                "export",
                "train-segmenter",
                "compare",
                "import-pix2pixhd",
                "weights",
                "streets",
            )
        ]
    },
    install_requires=[
        "absl-py",
        "array_record",
        "clu",
        "flatbuffers",  # in which JAX writes exported programs
        "flax>=0.11.2",
        "grain",
        "h5py",  # reads weights that Keras saved
        "imageio-ffmpeg",  # brings an ffmpeg that encodes H.264
        "jax>=0.7.2",
        "jinja2",
        "matplotlib",
        "ml-collections",
        "numpy",
        "opencv-python-headless",
        "optax",
        "orbax-checkpoint",
        "pillow",
        "safetensors",
        "tensorflow-datasets",
        "tqdm",
    ],
    extras_require={
        # clu writes TensorBoard summaries through TensorFlow, which Python 3.14 has not got yet.
        # Without it, training writes metrics.jsonl and PNGs alone. Not a requirement: it would be
        # laid over the other TensorFlow that Colab's images have.
        "tensorboard": [
            "tensorboard; python_version < '3.14'",
            "tensorflow-cpu; python_version < '3.14' and sys_platform == 'linux'",
            "tensorflow; python_version < '3.14' and sys_platform != 'linux'",
        ],
        "docs": _DOCS,
        "test": [
            *_DOCS,
            "hypothesis",
            "ipykernel",
            "ipywidgets",
            "mypy",
            "nbclient",
            "onnx",
            "onnxruntime",
            "psutil",
            "pytest",
            "pytest-xdist",
            "ruff",
        ],
        "beam": ["apache-beam"],  # installed as constraints-beam.txt says
        "convert": ["torch"],  # only to convert PyTorch checkpoints
        "demo": ["gradio"],  # installed as constraints-demo.txt says
        "gpu": ["jax[cuda12]"],
        "onnx": ["onnx", "onnxruntime"],
        # For the live comparisons of tests/parity. Each torchvision fits one torch alone.
        "parity": ["torch==2.14.*", "torchvision==0.29.*"],
        "tpu": ["jax[tpu]"],
    },
)
