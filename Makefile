# The front door. `make help` lists what there is.
JOBS ?= $(shell nproc)
BUILD ?= build
CMAKE_FLAGS ?=
PEERS ?= ../shared/peers
FUZZ_SECONDS ?= 600
MAKEFLAGS += --no-print-directory

# Debian and Ubuntu packages: the tools (gnuplot draws loss curves), the libraries that are always needed, and the kernel
# libraries.
TOOLS = g++ cmake make gnuplot-nox
LIBRARIES = libstb-dev doctest-dev nlohmann-json3-dev libcli11-dev libzip-dev
KERNELS = libopenblas-pthread-dev libdnnl-dev

.PHONY: all demo test test-long bench-peers compare-onednn deps format layers asan portable fuzz clean help

all: ## build the program, build/qhyvit
	@cmake -S . -B $(BUILD) $(CMAKE_FLAGS) > $(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@grep -E '^-- (OpenBLAS|oneDNN):' $(BUILD).log; rm -f $(BUILD).log
	@cmake --build $(BUILD) --parallel $(JOBS)

demo: deps all ## install what is missing, build, and compare all methods on the networks that come with it (3 minutes)
	@experiments/demo.sh $(BUILD)

test: deps all ## install what is missing, build, and run the tests (under 4 minutes)
	@tests/run_tests.sh $(BUILD)

test-long: all ## accuracy of every model of the development data, float and quantised (7 minutes)
	@tests/run_long.sh $(BUILD)

bench-peers: all ## latency against ONNX Runtime, where npm and the models in PEERS are (a minute)
	@experiments/bench_peers.sh $(BUILD) $(PEERS) $(BUILD)/peers.csv

compare-onednn: all ## integer products of a network by our kernels and by oneDNN: sums and times
	@cmake --build $(BUILD) --target compare_int8 && $(BUILD)/compare_int8

deps: ## install the Debian or Ubuntu packages that are missing (as root, or by sudo)
	@missing=; for p in $(TOOLS) $(LIBRARIES) $(KERNELS); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get > /dev/null; then \
	  echo "This is not Debian or Ubuntu; the build needs what these packages hold:$$missing"; exit 0; fi; \
	sudo=; if [ $$(id -u) != 0 ]; then \
	  if ! command -v sudo > /dev/null; then \
	    echo "Missing packages. As root: apt-get install$$missing"; exit 1; fi; \
	  sudo=sudo; fi; \
	echo "Installing$$missing"; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing > /dev/null

format: ## clang-format over all sources
	@git ls-files -co --exclude-standard '*.cpp' '*.h' | xargs clang-format -i

layers: ## check that every folder includes only what is below it
	@tests/check_layers.sh

asan: ## build with AddressSanitizer and UndefinedBehaviorSanitizer in build-asan and run the tests
	@$(MAKE) all BUILD=build-asan CMAKE_FLAGS='-DQHYVIT_SANITIZE=address,undefined $(CMAKE_FLAGS)'
	@tests/run_tests.sh build-asan

portable: ## build without OpenBLAS and oneDNN in build-portable and run the tests
	@$(MAKE) all BUILD=build-portable \
	  CMAKE_FLAGS='-DQHYVIT_OPENBLAS=OFF -DQHYVIT_ONEDNN=OFF $(CMAKE_FLAGS)'
	@tests/run_tests.sh build-portable

fuzz: ## build the fuzzers by clang in build-fuzz and run each for FUZZ_SECONDS, 600 if none are said
	@$(MAKE) deps TOOLS='clang libclang-rt-dev cmake make' KERNELS=
	@cmake -S . -B build-fuzz -DCMAKE_CXX_COMPILER=clang++ -DQHYVIT_FUZZ=ON -DQHYVIT_OPENBLAS=OFF -DQHYVIT_ONEDNN=OFF \
	  -DQHYVIT_SANITIZE=fuzzer-no-link,address,undefined > /dev/null
	@cmake --build build-fuzz --parallel $(JOBS) --target fuzz_model_file fuzz_plan
	@for what in model_file plan; do mkdir -p build-fuzz/$$what && \
	  build-fuzz/fuzz_$$what -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=120 \
	    -artifact_prefix=build-fuzz/$$what- build-fuzz/$$what tests/fuzz/corpus/$$what || exit 1; done

clean: ## remove the build folders
	@rm -rf build build-asan build-portable build-fuzz

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{printf "make %-14s %s\n", $$1, $$2}'
