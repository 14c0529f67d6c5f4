# `make demo` and `make test` set everything up on a machine that has only Python, 3.11 or newer.
# The first that is found here is used. For another: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BEAM_VENV := .venv-beam
DEMO_VENV := .venv-demo
RUN := $(VENV)/bin/python -m
DEMO ?= demo
VARIANT = $$(cat $(DEMO)/variant)
DATA := --config.data.data_dir=$(DEMO)/data
SEGMENTER := $(RUN) sflow_jax.train_segmenter --config configs/streets.py $(DATA) \
	--batch_pixels 65536

.PHONY: demo test test-long test-beam test-demo docs links segmenters clean

demo: $(VENV)/.installed
	@# Decided once: a demo that was interrupted goes on with the network that it began with.
	@mkdir -p $(DEMO)
	@test -f $(DEMO)/variant || if $(RUN) sflow_jax.pretrained.weights get hed; \
		then echo demo > $(DEMO)/variant; \
		else echo offline > $(DEMO)/variant; \
		echo "Going on without HED's weights: worse pictures. To try again: rm -r $(DEMO) && make demo"; fi
	$(RUN) sflow_jax.main --config configs/streets.py:$(VARIANT) $(DATA) --workdir $(DEMO)/run
	@# Exporting refuses a folder that is not empty: what an interruption left is made again.
	test -d $(DEMO)/scenes || { rm -rf $(DEMO)/scenes.part && $(RUN) sflow_jax.prepare \
		--config configs/streets.py:$(VARIANT) $(DATA) --export $(DEMO)/scenes.part \
		&& mv $(DEMO)/scenes.part $(DEMO)/scenes; }
	$(RUN) sflow_jax.sample --workdir $(DEMO)/run --input $(DEMO)/scenes/test \
		--output $(DEMO)/samples --grid
	$(RUN) sflow_jax.sample --workdir $(DEMO)/run --input $(DEMO)/scenes/test --limit 8 \
		--output $(DEMO)/variants --num_variants 4 --grid
	$(RUN) sflow_jax.evaluate --workdir $(DEMO)/run --output $(DEMO)/scores
	test $(VARIANT) = offline || $(RUN) sflow_jax.evaluate --workdir $(DEMO)/run --diversity \
		--limit 24 --output $(DEMO)/scores
	$(RUN) sflow_jax.main --config configs/streets_video.py:$(VARIANT) $(DATA) \
		--workdir $(DEMO)/video_run --config.init_from=$(DEMO)/run
	test -d $(DEMO)/drive || { rm -rf $(DEMO)/drive.part && $(RUN) sflow_jax.data.streets \
		--output $(DEMO)/drive.part --num_frames 45 --seed 7 --height 64 --width 128 \
		&& mv $(DEMO)/drive.part $(DEMO)/drive; }
	$(RUN) sflow_jax.sample --workdir $(DEMO)/video_run --input $(DEMO)/drive \
		--output $(DEMO)/clip --video --grid
	@echo
	@echo "Look at:"
	@echo "  $(DEMO)/samples/grid.png     test scenes: label, CG frame, edges, generated, real"
	@echo "  $(DEMO)/variants/grid.png    four variants of the same scenes"
	@echo "  $(DEMO)/run/pictures         how training went"
	@echo "  $(DEMO)/scores/scores.txt    segmentation scores next to those of the real images"
	@test $(VARIANT) = offline || echo "  $(DEMO)/scores/diversity.png  variants in edges, in colors and in both"
	@echo "  $(DEMO)/clip/comparison.mp4  a drive: label, CG frame, edges, generated, real"

test: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	@# A worker takes up to 4 GiB. One without work takes half of what another has left.
	$(RUN) pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# What takes minutes: thousands of inputs for all that is read.
test-long: $(VENV)/.installed-test
	$(RUN) pytest -m long --numprocesses logical --maxprocesses 4 --dist worksteal

# Apache Beam replaces some packages with older versions: an environment of its own.
test-beam: $(BEAM_VENV)/.installed-beam
	$(BEAM_VENV)/bin/python -m pytest tests/data/test_beam.py

# The site, docs/_build/html/index.html, after what pages quote from the code is written anew.
docs: $(VENV)/.installed-test
	$(RUN) docs.from_code
	$(RUN) sphinx --builder html --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "Look at docs/_build/html/index.html"

# Asks the network for every address that README and pages name.
links: $(VENV)/.installed-test
	$(RUN) docs.links

# Gradio too; the browser is Debian's package chromium, or what CHROMIUM names.
test-demo: $(DEMO_VENV)/.installed-demo
	$(DEMO_VENV)/bin/python -m pytest tests/playground tests/test_demo.py

# Trains the two segmenters that ship with the package again; their docstring says why two.
segmenters: $(VENV)/.installed
	$(SEGMENTER) --num_steps 900 --seed 0 \
		--output sflow_jax/pretrained/streets_features.safetensors
	@# What scores has seen other streets than what trains.
	$(SEGMENTER) --num_steps 1200 --seed 1 --config.data.streets_seed=1 \
		--config.data.num_train=1200 --output sflow_jax/pretrained/streets_evaluator.safetensors

$(VENV)/bin/python $(BEAM_VENV)/bin/python $(DEMO_VENV)/bin/python: %/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer not found; set PYTHON=" >&2; exit 2; }
	$(PYTHON) -m venv $*

$(VENV)/.installed: setup.py constraints.txt | $(VENV)/bin/python
	$(RUN) pip install --quiet --constraint constraints.txt --editable ".[tensorboard]"
	touch $@

$(VENV)/.installed-test: setup.py constraints.txt | $(VENV)/bin/python
	$(RUN) pip install --quiet --constraint constraints.txt --editable ".[tensorboard,test]"
	touch $@

$(BEAM_VENV)/.installed-beam: setup.py constraints.txt constraints-beam.txt | $(BEAM_VENV)/bin/python
	$(BEAM_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[tensorboard,test]"
	$(BEAM_VENV)/bin/python -m pip install --quiet --constraint constraints-beam.txt \
		--editable ".[beam]"
	touch $@

$(DEMO_VENV)/.installed-demo: setup.py constraints.txt constraints-demo.txt | $(DEMO_VENV)/bin/python
	$(DEMO_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	$(DEMO_VENV)/bin/python -m pip install --quiet --constraint constraints-demo.txt \
		--editable ".[demo]" playwright
	touch $@

clean:
	rm -rf $(VENV) $(BEAM_VENV) $(DEMO_VENV) $(DEMO)
