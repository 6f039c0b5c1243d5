# SPDX-License-Identifier: Apache-2.0
# `make help` lists the words to type. Each has a line that begins with ## before its rule; ##@ begins a group. The lint check
# "help" fails when a word has none. Sources are found by folder: a new .c file needs no edit here.
#
# SAN=address,undefined or SAN=thread builds into a folder of its own, FAILPOINTS=1 (base/failpoint.h) too; CC=clang
# works throughout.

MAKEFLAGS += --no-builtin-rules
SHELL     := /bin/bash
include tests/shell/environment.sh

CC        := gcc
CROSS     := $(patsubst %gcc,%,$(filter %-gcc,$(CC)))
EMULATOR  :=
PREFIX    := /usr/local
SAN       :=
comma     := ,
FAILPOINTS :=
BUILD     := build/$(if $(SAN),$(subst $(comma),-,$(SAN)),release)$(if $(FAILPOINTS),-failpoints)
BIN       := $(if $(SAN)$(FAILPOINTS),$(BUILD)/bin,bin)
T         :=
FUZZ_SECONDS := 20

PACKAGES  := libuv libnghttp2 libwebsockets lmdb yaml-0.1 openssl libprotobuf-c jansson zlib libjwt libcrypt
WARN      := -Werror=implicit-function-declaration -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
             -Wpointer-arith -Wwrite-strings -Wcast-qual -Wformat=2 -Wundef -Wvla \
             -Wimplicit-fallthrough -Wswitch-enum -Wconversion -Wno-sign-conversion -fno-common
DEPS_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null | sed 's/-I/-isystem /g')
DEPS_LIBS   := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lpthread -lm
# CRC-32C by instruction, where the compiler's target has it; on ARM base/crc32c_arm.c asks the CPU when the program starts.
SSE42     := $(shell $(CC) -Werror -msse4.2 -fsyntax-only -x c /dev/null 2>/dev/null && echo -msse4.2)
OPT       := $(if $(SAN),-O1 -g -fno-omit-frame-pointer,-O2 -g -D_FORTIFY_SOURCE=2)
SANFLAGS  := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
# clang 17 and later want a function's exact type at its calls. protobuf-c's tables hold their functions as casts.
SANFLAGS  += $(if $(findstring undefined,$(SAN)),$(shell $(CC) -Werror -fno-sanitize=function -fsyntax-only -x c /dev/null 2>/dev/null && echo -fno-sanitize=function))
CPPFLAGS  := -D_GNU_SOURCE -isystem sdk $(if $(FAILPOINTS),-DFAILPOINTS) -I. -isystem $(BUILD)/gen $(DEPS_CFLAGS)
CFLAGS    := -std=c17 $(OPT) $(WARN) -fstack-protector-strong -ffunction-sections $(SSE42) $(SANFLAGS) \
             $(EXTRA_CFLAGS)
# A file that is written when this compiler has been seen to build right code: tests/compiler/README.md.
COMPILER_OK := $(BUILD)/compiler-$(firstword $(shell $(CC) --version 2>/dev/null | cksum))
# The repository's path stays out of the programs; quoted for the shell, because it may hold a blank.
PREFIX_MAP := '$(subst ','\'',-ffile-prefix-map=$(CURDIR)/=)'
LDFLAGS   := $(SANFLAGS) $(if $(SAN),,-Wl$(comma)--as-needed) $(EXTRA_LDFLAGS)
# Linker flags that keep little of the program in the memory of an idle node: unused functions are dropped; the
# functions of a start are side by side; relocations have their short form, which the loader knows since glibc 2.36.
SHORT_RELOCATIONS := $(shell printf '%s\n' 2.36 "$$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)" | sort -VC && echo -z pack-relative-relocs)
START_LD  := $(if $(SAN),,$(BUILD)/start.ld)
LDFLAGS_SERVER := $(if $(SAN),,-Wl$(comma)--gc-sections -Wl$(comma)-T$(comma)$(START_LD) $(SHORT_RELOCATIONS))

# --- sources ---------------------------------------------------------------------------------
FOLDERS   := base proto consensus namespace registry config server sdk
SOURCES   := $(sort $(shell find $(FOLDERS) -name '*.c' ! -path server/main.c ! -path 'sdk/*/*' 2>/dev/null))
CTL       := $(filter-out sdk/ctl/main.c,$(wildcard sdk/ctl/*.c))
SOURCES   += $(CTL)
ASSETS    := $(sort $(shell find $(FOLDERS) -name '*.S' 2>/dev/null))
PROTOS    := $(wildcard proto/*.proto)
GEN_C     := $(PROTOS:proto/%.proto=$(BUILD)/gen/proto/%.pb-c.c)
GEN_H     := $(GEN_C:.c=.h)
OBJECTS   := $(SOURCES:%.c=$(BUILD)/%.o) $(ASSETS:%.S=$(BUILD)/%.o) $(GEN_C:.c=.o)
CORE      := $(BUILD)/libcore.a
UNIT      := $(sort $(wildcard tests/unit/*_test.c))
UNIT_BIN  := $(UNIT:tests/unit/%.c=$(BUILD)/unit/%)
TEST_LIB  := $(filter-out %_test.c %_main.c tests/sim/cluster/%,$(shell find tests/unit tests/scenario tests/sim tests/check tests/access tests/e2e/proxy -name '*.c' 2>/dev/null))
TEST_LIB_O:= $(TEST_LIB:%.c=$(BUILD)/%.o)
FUZZERS   := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))

# Targets that only other targets use.
INTERNAL  := test-parts mutants-build sdk-build bench-smoke
.PHONY: $(INTERNAL)
.PHONY: help all deps run cluster demo test repeat real-time check scenarios explore linearizability sim sim-mutants lint
.PHONY: e2e peer-proof registry-faults config-faults matrix crash failpoints chaos upgrade failover misuse abuse memory
.PHONY: interop interop-all console picture sdk sdk-abi chart chart-pods packaging debian13 arm64 fuzz bench bench-registry bench-config
.PHONY: docs prose start-order format install clean
.DEFAULT_GOAL := all
.SECONDARY:

## List the words to type
help:
	@awk -f tests/lint/help.awk Makefile

##@ Build and run
## Build bin/cairnd and bin/cairnctl
all: $(BIN)/cairnd $(BIN)/cairnctl compile_commands.json

## Install the Debian packages that are missing (root or sudo)
deps:
	@tests/lint/deps.sh

PORT      := 2379
DNS_PORT  := 8600
## Start one node and print where it listens; PORT=2379 DNS_PORT=8600
run: deps
	@$(MAKE) --no-print-directory all
	@CAIRND=$(BIN)/cairnd PORT=$(PORT) DNS_PORT=$(DNS_PORT) exec tests/e2e/one.sh

## Start three members and print where they listen; CLUSTER_DIR= is the folder of their data
cluster: deps
	@$(MAKE) --no-print-directory all
	@CAIRND=$(BIN)/cairnd tests/e2e/three.sh

## Show registration, failover and a configuration on three members, in 45 seconds
demo: deps
	@$(MAKE) --no-print-directory all
	@python3 -B tests/demo/demo.py $(BIN)/cairnd

# --- compile ---------------------------------------------------------------------------------
# The generated protobuf files include each other by bare name, hence the second include folder.
$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(@D)
	@cd proto && protoc-c --c_out=../$(BUILD)/gen/proto $(<F)

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(GEN_H)
	@$(CC) -std=c17 $(OPT) -ffunction-sections $(SANFLAGS) $(EXTRA_CFLAGS) -w -I$(BUILD)/gen/proto $(DEPS_CFLAGS) -c $< -o $@

$(COMPILER_OK): tests/compiler/check.sh tests/compiler/wrong_code.c
	@EMULATOR='$(EMULATOR)' tests/compiler/check.sh $@ $(CC) $(CFLAGS)

$(BUILD)/%.o: %.c Makefile | $(GEN_H) $(COMPILER_OK)
	@mkdir -p $(@D)
	@echo "  CC  $<"
	@$(CC) $(CPPFLAGS) -isystem $(BUILD)/gen/proto $(CFLAGS) $(PREFIX_MAP) -MMD -MP -c $< -o $@

# The web console's files are in the program as gzip makes them, without time and name: the same files, the same bytes.
CONSOLE    := $(shell awk -F'"' '/^CONSOLE_FILE/ {print $$2}' server/http/console/console.def)
CONSOLE_GZ := $(CONSOLE:%=$(BUILD)/gen/console/%)
$(BUILD)/gen/console/%: server/http/console/%
	@mkdir -p $(@D)
	@gzip -9nc $< > $@

$(BUILD)/server/http/console/files.o: $(CONSOLE_GZ) server/http/console/console.def
$(BUILD)/%.o: %.S Makefile
	@mkdir -p $(@D)
	@$(CC) -I. -Wa,-I$(BUILD)/gen/console -c $< -o $@

$(CORE): $(OBJECTS)
	@rm -f $@ && $(CROSS)ar rcs $@ $^

$(BIN)/cairnd: $(BUILD)/server/main.o $(CORE) $(START_LD)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(CC) $(LDFLAGS) $(LDFLAGS_SERVER) -o $@ $(filter-out $(START_LD),$^) $(DEPS_LIBS)

$(BIN)/cairnctl: $(BUILD)/sdk/ctl/main.o $(CORE)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(CC) $(LDFLAGS) $(if $(SAN),,-Wl$(comma)--gc-sections $(SHORT_RELOCATIONS)) -o $@ $^ $(DEPS_LIBS)

# A section for the functions that server/start.order names, their clones (.constprop, .part) included, before all others.
$(BUILD)/start.ld: server/start.order Makefile
	@mkdir -p $(@D)
	@sed -e '1i SECTIONS { .text.start : {' -e '/^#/d; s/.*/*(.text.& .text.&.*)/' -e '$$a } } INSERT BEFORE .text;' $< > $@

# An archive: a test with a store of its own making must not meet the real one through a helper it does not use.
TEST_CORE := $(BUILD)/libtest.a
$(TEST_CORE): $(TEST_LIB_O)
	@rm -f $@ && $(CROSS)ar rcs $@ $^

# ldns is the judge of our DNS answers.
$(BUILD)/unit/dns_%: JUDGE := -lldns
$(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(TEST_CORE) $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $< $(TEST_CORE) $(CORE) -lcmocka $(JUDGE) $(DEPS_LIBS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# --- libcairn ------------------------------------------------------------------------------------
# Its parts of base and proto are linked into it, and only cairn_* symbols stay visible, in the static library too: an
# application may have a buf_add of its own. The static one is made of the ordinary objects, the shared one of
# position-independent ones of its own. The blocking HTTP client is the control program's, and in neither.
SDK_VERSION := $(shell sed -n 's/^\#define CAIRN_SDK_VERSION "\(.*\)"/\1/p' sdk/cairn.h)
SDK_SONAME := libcairn.so.$(firstword $(subst ., ,$(SDK_VERSION)))
SDK_LIBS  := $(shell pkg-config --libs libuv libnghttp2 openssl libprotobuf-c jansson 2>/dev/null) -lpthread
EMPTY     :=
SPACE     := $(EMPTY) $(EMPTY)
SDK_OUT   := $(BUILD)/lib
SDK_HEADERS := $(wildcard sdk/cairn*.h)
SDK_C     := $(filter-out sdk/http_client.c,$(wildcard sdk/*.c))
SDK_O     := $(SDK_C:%.c=$(BUILD)/pic/%.o)
SDK_BASE_C := $(wildcard base/*.c base/net/*.c proto/*.c)
SDK_BASE_O := $(SDK_BASE_C:%.c=$(BUILD)/pic/%.o) $(GEN_C:$(BUILD)/%.c=$(BUILD)/pic/%.o)
SDK_EXAMPLES := $(patsubst sdk/examples/%.c,$(BUILD)/examples/%,$(wildcard sdk/examples/*.c))

$(BUILD)/pic/gen/%.o: $(BUILD)/gen/%.c $(GEN_H)
	@mkdir -p $(@D)
	@$(CC) -std=c17 $(OPT) -fPIC -ffunction-sections $(SANFLAGS) $(EXTRA_CFLAGS) -w -I$(BUILD)/gen/proto $(DEPS_CFLAGS) -c $< -o $@

$(BUILD)/pic/%.o: %.c Makefile | $(GEN_H) $(COMPILER_OK)
	@mkdir -p $(@D)
	@echo "  CC  $< (PIC)"
	@$(CC) $(CPPFLAGS) -isystem $(BUILD)/gen/proto $(CFLAGS) $(PREFIX_MAP) -fPIC -MMD -MP -c $< -o $@

$(BUILD)/pic/libbase.a: $(SDK_BASE_O)
	@rm -f $@ && $(CROSS)ar rcs $@ $^

$(BUILD)/pic/libcairn.o: $(SDK_O) $(BUILD)/pic/libbase.a
	@$(CROSS)ld -r -o $@ $^
	@$(CROSS)objcopy --wildcard --keep-global-symbol='cairn_*' $@

$(BUILD)/libsdkbase.a: $(SDK_BASE_C:%.c=$(BUILD)/%.o) $(GEN_C:.c=.o)
	@rm -f $@ && $(CROSS)ar rcs $@ $^

$(BUILD)/libcairn.o: $(SDK_C:%.c=$(BUILD)/%.o) $(BUILD)/libsdkbase.a
	@$(CROSS)ld -r -o $@ $^
	@$(CROSS)objcopy --wildcard --keep-global-symbol='cairn_*' $@

$(SDK_OUT)/libcairn.a: $(BUILD)/libcairn.o
	@mkdir -p $(@D)
	@rm -f $@ && $(CROSS)ar rcs $@ $<

$(SDK_OUT)/$(SDK_SONAME): $(BUILD)/pic/libcairn.o sdk/libcairn.map
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(CC) -shared $(SANFLAGS) -Wl,-soname,$(SDK_SONAME) -Wl,--version-script=sdk/libcairn.map -Wl,--as-needed $(if $(SAN),,-Wl$(comma)--gc-sections -Wl$(comma)-z$(comma)defs) \
	    -o $(SDK_OUT)/libcairn.so.$(SDK_VERSION) $< $(SDK_LIBS)
	@cd $(SDK_OUT) && ln -sf libcairn.so.$(SDK_VERSION) $(SDK_SONAME) && ln -sf $(SDK_SONAME) libcairn.so && touch -h $(SDK_SONAME)

# Built like an application of a user: the header and the static library alone, C99.
$(BUILD)/examples/%: sdk/examples/%.c $(SDK_HEADERS) $(SDK_OUT)/libcairn.a
	@mkdir -p $(@D)
	@$(CC) -std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic $(SANFLAGS) -g -Isdk $< $(SDK_OUT)/libcairn.a $(SDK_LIBS) -o $@

SDK_TESTS := $(patsubst tests/sdk/%.c,$(BUILD)/sdk-tests/%,$(wildcard tests/sdk/*.c))
$(BUILD)/sdk-tests/%: tests/sdk/%.c $(SDK_HEADERS) $(SDK_OUT)/libcairn.a
	@mkdir -p $(@D)
	@$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra $(SANFLAGS) -g -Isdk $< $(SDK_OUT)/libcairn.a $(SDK_LIBS) -o $@

sdk-build: $(SDK_TESTS) $(SDK_OUT)/libcairn.a $(SDK_OUT)/$(SDK_SONAME) $(SDK_EXAMPLES)

# --- tests -----------------------------------------------------------------------------------
CHECKS := $(if $(T),$(foreach u,$(UNIT_BIN),$(if $(findstring $(T),$(notdir $(u))),$(u))),$(UNIT_BIN))
##@ Tests that run in one process
## Run the unit tests; T=wal runs those with "wal" in their names
check: $(CHECKS)
	@EMULATOR='$(EMULATOR)' tests/unit/run.sh $(CHECKS)

# The scenario files of other projects stay outside this repository; without them that part is skipped, visibly.
DIR       := ../shared/etcd-raft-testdata
SCENARIOS := $(BUILD)/scenario
$(SCENARIOS): $(BUILD)/tests/scenario/scenario_main.o $(filter $(BUILD)/tests/scenario/%,$(TEST_LIB_O)) $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

## Run etcd-io/raft's scenario files and ours; DIR= is the folder of theirs
scenarios: $(SCENARIOS)
	@$(SCENARIOS) $(DIR) tests/scenario/raft

# Every state within bounds; the scopes and what may be said in EXPLORE are in tests/explore/README.md.
EXPLORE   := --states 250000
EXPLORER  := $(BUILD)/explore
EXPLORE_O := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/explore/*.c))
$(EXPLORER): $(EXPLORE_O) $(filter $(BUILD)/tests/scenario/%,$(TEST_LIB_O)) $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

## Visit every state of small Raft clusters within bounds; EXPLORE='--states 20000000 figure8'
explore: $(EXPLORER)
	@$(EXPLORER) $(EXPLORE)

# So do others' histories with known verdicts, on which the checker itself is checked.
LINEARIZABILITY := ../shared/linearizability-data
$(BUILD)/linearizability: $(BUILD)/tests/check/linearizability_main.o $(BUILD)/tests/check/wgl.o $(BUILD)/tests/check/wgl_models.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

## Check the checker of histories on histories with known verdicts; LINEARIZABILITY= is their folder
linearizability: $(BUILD)/linearizability
	@timeout 600 $(BUILD)/linearizability $(LINEARIZABILITY)

# Whole clusters on virtual time. The linker puts tests/sim/cluster/hooks.c between production files.
SIM       := $(BUILD)/sim
SIM_O     := $(patsubst %.c,$(BUILD)/%.o,tests/sim/sim_main.c $(wildcard tests/sim/cluster/*.c tests/sim/*.c tests/check/*.c \
             tests/scenario/render*.c))
SIM_O     := $(sort $(filter-out $(BUILD)/tests/check/%_main.o,$(SIM_O)))
SIM_WRAP  := $(foreach f,raft_new kv_apply kv_put watch_deliver store_set_needs_events \
             malloc calloc realloc free,-Wl,--wrap=$f)
SEEDS     := 300
SEED      :=
SIM_FLAGS :=
$(SIM): $(SIM_O) $(CORE)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	@$(CC) $(LDFLAGS) $(SIM_WRAP) -o $@ $^ $(DEPS_LIBS)

## Run whole clusters on virtual time, SEEDS=300; SEED=7 replays one with a trace
sim: $(SIM)
	@$(SIM) $(if $(SEED),--seed $(SEED) --trace,--corpus tests/sim/corpus.txt --seeds $(SEEDS)) $(SIM_FLAGS)

# Mutants prove the tools: they find each of base/mutant.def, and nothing in a build without mutants. It is a build of
# its own.
MUTANTS   := all
## Run the tools on mutants, which they must find; MUTANTS=quick, or their names
sim-mutants:
	@$(MAKE) --no-print-directory BUILD=build/mutants EXTRA_CFLAGS=-DMUTANTS mutants-build
	@MUTANTS_BUILD=build/mutants tests/sim/mutants.sh $(MUTANTS)

mutants-build: $(EXPLORER) $(SCENARIOS) $(SIM) $(patsubst %,$(BUILD)/unit/%,$(shell awk '!/^ *\#/ && $$3 == "unit" {print $$5}' tests/sim/mutants.txt | sort -u))

# Judges histories that were recorded into files.
$(BUILD)/tools/check-history: $(BUILD)/tests/check/history_main.o $(filter $(BUILD)/tests/check/%,$(TEST_LIB_O)) $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

# The core of the CI run. Longer runs have targets of their own.
# One run at a time in a clone: two would build the same files. Runs of two clones do not disturb each other.
##@ All of them
## Run what every change must pass: build, lint, unit tests, scenarios, e2e; under ten minutes
test:
	@tests/shell/once.sh test $(MAKE) --no-print-directory test-parts

test-parts:
	@DEPS=test tests/lint/deps.sh
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory scenarios
	@$(MAKE) --no-print-directory linearizability
	@$(MAKE) --no-print-directory e2e

# All of it again and again, beside LOAD busy processes; what fails is kept in build/repeat.
RUNS      := 30
LOAD      := 4
## Run make test RUNS=30 times beside LOAD=4 busy processes and keep the logs of failures
repeat:
	@tests/shell/once.sh test tests/shell/repeat.sh $(RUNS) $(LOAD) $(MAKE) --no-print-directory test-parts

# The unit tests in real time alone.
REAL_TIME := $(patsubst %,$(BUILD)/unit/%,$(shell grep -v '^\#' tests/unit/real_time.txt))
## Do the same with the unit tests of tests/unit/real_time.txt
real-time: $(REAL_TIME)
	@tests/shell/repeat.sh $(RUNS) $(LOAD) tests/unit/run.sh $(REAL_TIME)

# Programs that speak to servers from outside: the load generator, the crash test.
TOOLS     := load null_server dns_load stream_load sse_load config_load crash clients
TOOL_BIN  := $(TOOLS:%=$(BUILD)/tools/%)
$(BUILD)/tools/load: $(BUILD)/tests/bench/load.o
$(BUILD)/tools/null_server: $(BUILD)/tests/bench/null_server.o
$(BUILD)/tools/dns_load: $(BUILD)/tests/bench/dns_load.o
$(BUILD)/tools/stream_load: $(BUILD)/tests/bench/stream_load.o
$(BUILD)/tools/sse_load: $(BUILD)/tests/bench/sse_load.o
$(BUILD)/tools/config_load: $(BUILD)/tests/bench/config_load.o
$(BUILD)/tools/crash: $(BUILD)/tests/e2e/crash.o
$(BUILD)/tools/clients: $(BUILD)/tests/e2e/misuse/clients.o $(BUILD)/tests/e2e/misuse/rude.o $(BUILD)/tests/e2e/misuse/wire.o
$(TOOL_BIN): $(BUILD)/tests/bench/h2client.o $(BUILD)/tests/bench/measure.o
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ -lnghttp2

# A TCP proxy that injects faults; tests/e2e/proxy/faultproxy.h.
FAULTPROXY := $(BUILD)/tools/faultproxy
$(FAULTPROXY): $(BUILD)/tests/e2e/proxy/faultproxy_main.o $(BUILD)/tests/e2e/proxy/faultproxy.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

$(BUILD)/tools/peer_load: $(BUILD)/tests/bench/peer_load.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

# Checks files as configurations, for others' conformance suites.
FORMATS   := $(BUILD)/tools/formats
$(FORMATS): $(BUILD)/tests/interop/config/formats_main.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

# server/http as an echo server, for WebSocket suites.
WS_ECHO   := $(BUILD)/tools/ws_echo
$(WS_ECHO): $(BUILD)/tests/interop/websocket/echo_main.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

# One program for each fault of libwebsockets' own HTTP and WebSocket roles.
LWS_FAULT := $(BUILD)/tests/interop/libwebsockets/fault.o
LWS_TESTS := $(patsubst tests/interop/libwebsockets/%.c,$(BUILD)/tools/libwebsockets/%,$(filter-out %/fault.c,$(wildcard tests/interop/libwebsockets/*.c)))
$(LWS_TESTS): $(BUILD)/tools/libwebsockets/%: $(BUILD)/tests/interop/libwebsockets/%.o $(LWS_FAULT)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs libwebsockets)

# The table of permissions: its readers, and docs/security.md, which is made from it.
ACCESS    := $(BUILD)/tools/access
$(ACCESS): $(BUILD)/tests/access/access_main.o $(BUILD)/tests/access/table.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

# Pages and the manual pages that are made from tables: tests/docs/README.md.
DOCS      := $(BUILD)/tools/docs
$(DOCS): $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/docs/*.c)) $(BUILD)/tests/access/table.o $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(DEPS_LIBS)

# Programs of another architecture run under an emulator.
MAN_PAGES := $(BUILD)/man/cairnd.1 $(BUILD)/man/cairnctl.1
$(BUILD)/man/%.1: $(DOCS)
	@mkdir -p $(@D)
	@$(EMULATOR) $(DOCS) man $* >$@.new && mv $@.new $@

COMPLETIONS := $(BUILD)/completion/bash $(BUILD)/completion/zsh $(BUILD)/completion/fish
$(BUILD)/completion/%: $(BIN)/cairnctl
	@mkdir -p $(@D)
	@$(EMULATOR) $(BIN)/cairnctl completion $* >$@.new && mv $@.new $@

##@ Pages
## Write the pages of docs/ that are made from tables
docs: $(ACCESS) $(DOCS)
	@mkdir -p docs
	@$(ACCESS) docs tests/access/security.md.in >docs/security.md
	@$(DOCS) check
	@for page in $$($(DOCS) list); do $(DOCS) page $$page >docs/$$page || exit 1; done

##@ Tests with real servers
## Try every cell of the table of permissions
matrix: $(BIN)/cairnd $(ACCESS)
	@CAIRND=$(BIN)/cairnd ACCESS=$(ACCESS) tests/e2e/matrix.sh all

# Traffic that is recorded while members die; tests/chaos/README.md.
CHAOS_O   := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %_main.c,$(wildcard tests/chaos/*.c)))
CHAOS_BIN := $(patsubst tests/chaos/%_main.c,$(BUILD)/tools/%,$(wildcard tests/chaos/*_main.c))
$(BUILD)/libchaos.a: $(CHAOS_O)
	@rm -f $@ && $(CROSS)ar rcs $@ $^
$(CHAOS_BIN): $(BUILD)/tools/%: $(BUILD)/tests/chaos/%_main.o $(BUILD)/libchaos.a $(filter $(BUILD)/tests/check/%,$(TEST_LIB_O)) $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ -lnghttp2 $(DEPS_LIBS)

SCENARIO  :=
CHAOS     := SERVER=$(or $(SERVER),$(BIN)/cairnd) TOOLS=$(BUILD)/tools
## Record and judge clusters under faults; SCENARIO='kill_leader ...', SERVER=etcd
chaos: $(BIN)/cairnd $(CHAOS_BIN) $(FAULTPROXY) $(BUILD)/tools/check-history
	@$(MAKE) --no-print-directory FAILPOINTS=1 all
	@$(CHAOS) FAILPOINT_SERVER=$(BUILD)-failpoints/bin/cairnd tests/chaos/run.sh $(SCENARIO)

# The oldest supported build and this one in one cluster; SCENARIO=short for CI's form, OLD= for another old one (tests/upgrade).
## Run the oldest supported build and this one in one cluster; SCENARIO=short, OLD= names another build
upgrade: $(BIN)/cairnd $(BIN)/cairnctl $(CHAOS_BIN) $(FAULTPROXY) $(BUILD)/tools/check-history
	@$(MAKE) --no-print-directory FAILPOINTS=1 all
	@$(CHAOS) FAILPOINT_SERVER=$(BUILD)-failpoints/bin/cairnd tests/upgrade/run.sh $(or $(SCENARIO),long)

## Measure how long three members need after the leader's death
failover: $(BIN)/cairnd $(CHAOS_BIN)
	@$(CHAOS) tests/chaos/failover.sh

E2E       :=
## Test real daemons: restarts, options, bad input, the pages' commands; E2E='restart cluster' picks scripts
e2e: $(BIN)/cairnd $(BIN)/cairnctl $(TOOL_BIN) $(ACCESS) $(SDK_OUT)/libcairn.a
	@TOOLS=$(BUILD)/tools LIBCAIRN=$(SDK_OUT)/libcairn.a CAIRND=$(BIN)/cairnd tests/e2e/all.sh $(E2E)

## Test which processes become members: plain, with a token, with TLS
peer-proof: $(BIN)/cairnd
	@CAIRND=$(BIN)/cairnd tests/e2e/peer_proof.sh all

## Run its clients while members restart, die and lose connections; SCENARIO= picks
registry-faults config-faults: %-faults: $(BIN)/cairnd $(FAULTPROXY)
	@python3 -B tests/e2e/faults/run.py $(BIN)/cairnd $(FAULTPROXY) $* $(SCENARIO)

CYCLES    := 50
## Kill a daemon under load, CYCLES=50 times
crash: $(BIN)/cairnd $(TOOL_BIN)
	@TOOLS=$(BUILD)/tools CAIRND=$(BIN)/cairnd tests/e2e/crash.sh $(CYCLES)

## Kill a test build at every failpoint
failpoints:
	@$(MAKE) --no-print-directory FAILPOINTS=1 all
	@CAIRND=$(BUILD)-failpoints/bin/cairnd tests/e2e/failpoints.sh

SOAK      := 60
## Test slow, greedy and broken clients, signals and full disks; SOAK=60 seconds
misuse: $(BIN)/cairnd $(TOOL_BIN)
	@TOOLS=$(BUILD)/tools CAIRND=$(BIN)/cairnd SOAK=$(SOAK) tests/e2e/misuse/misuse.sh

# The worst legal input for each limit, and its effect on other clients; tests/abuse/README.md.
BEFORE    :=
ATTACK    :=
## Send the worst legal input for each limit; SHORT=1 BEFORE=/old/cairnd ATTACK='http'
abuse: $(BIN)/cairnd
	@$(if $(ATTACK),,tests/abuse/check_addresses.sh $(BIN)/cairnd)
	@python3 -B tests/abuse/run.py $(BIN)/cairnd $(if $(SHORT),--short) $(if $(BEFORE),--before '$(BEFORE)') $(ATTACK)

# Memory under load with a follower stopped, and the heap after churn beside that of a restart; LONG=1: ten minutes, an hour.
LONG      :=
## Check that memory stays flat; LONG=1 takes ten minutes and an hour
memory: $(BIN)/cairnd
	@python3 -B tests/abuse/memory.py $(BIN)/cairnd --seconds $(if $(LONG),600,30)
	@python3 -B tests/abuse/heap.py $(BIN)/cairnd --seconds $(if $(LONG),3600,40)

## Test the web console in headless chromium
console: $(BIN)/cairnd
	@CAIRND=$(BIN)/cairnd tests/console/run.sh

## docs/console.png, the README's picture, taken from a real cluster
picture: $(BIN)/cairnd
	@CAIRND=$(BIN)/cairnd PICTURE=$(CURDIR)/docs/console.png tests/console/run.sh

# A program that uses the library is built under each sanitizer; the server is the ordinary one.
## Test libcairn, its examples and programs, also under sanitizers
sdk: $(BIN)/cairnd $(BIN)/cairnctl $(MAN_PAGES) $(COMPLETIONS) sdk-build
	@for san in address,undefined thread; do $(MAKE) --no-print-directory SAN=$$san sdk-build || exit 1; done
	@CAIRND=$(BIN)/cairnd tests/sdk/run.sh $(BUILD) build/address-undefined build/thread

## Write sdk/abi.txt, the committed ABI of libcairn, anew
sdk-abi: $(SDK_OUT)/$(SDK_SONAME)
	@python3 -B tests/sdk/abi.py $(SDK_OUT)/libcairn.so update

## Run other projects' clients against this server, beside a real etcd; PARTS='usual' or 'long' or names of parts
interop: $(BIN)/cairnd $(BIN)/cairnctl $(FORMATS) $(WS_ECHO) $(LWS_TESTS)
	@CAIRND=$(BIN)/cairnd FORMATS=$(FORMATS) TOOLS=$(BUILD)/tools tests/interop/run.sh $(PARTS)

## The same with all of the long suites
interop-all: export LONG = 1
interop-all: interop

##@ Packages and other systems
## Test the Helm chart; UPDATE=1 writes the generated files
chart: $(BIN)/cairnd
	@CAIRND=$(BIN)/cairnd UPDATE=$(UPDATE) tests/chart/run.sh

## Test make install, the systemd unit and the Dockerfile
packaging: $(BIN)/cairnd $(BIN)/cairnctl
	@tests/packaging/run.sh

STORY     :=
## Run the chart's pods as processes in networks of their own (root); STORY=tls
chart-pods: $(BIN)/cairnd
	@tests/chart/pods.sh $(BIN)/cairnd $(STORY)

# Another release and another architecture, each in a folder that debootstrap makes and that stays; tests/debian/README.md.
## Build and test in a root of Debian 13 (root, debootstrap); SHORT=1
debian13:
	@SHORT=$(SHORT) tests/debian/run.sh

## Cross-build for arm64 and run the unit tests under qemu-user; T= as with check
arm64:
	@T='$(T)' SHORT=$(SHORT) tests/debian/arm64.sh

##@ Measurements
## Measure cairnd beside etcd and write tests/bench/RESULTS.md; ONLY= picks a part
bench: $(BIN)/cairnd $(TOOL_BIN) $(BUILD)/tools/failover
	@TOOLS=$(BUILD)/tools CAIRND=$(BIN)/cairnd tests/bench/run.sh
	@[ -n "$(ONLY)" ] || $(MAKE) --no-print-directory bench-registry

# The same program, one second a row and without verdicts: it shows that the program works; the results mean little.
bench-smoke: $(BIN)/cairnd $(TOOL_BIN)
	@TOOLS=$(BUILD)/tools CAIRND=$(BIN)/cairnd SMOKE=1 tests/bench/run.sh
	@TOOLS=$(BUILD)/tools CAIRND=$(BIN)/cairnd ROUNDS=1 SECONDS_EACH=1 tests/bench/beside.sh
	@TOOLS=$(BUILD)/tools CAIRND=$(BIN)/cairnd RUNS=1 SUBSCRIBERS=100 CHANGES=2 LOADS=0 tests/bench/http2.sh

$(BUILD)/tools/registry_load: $(BUILD)/tests/bench/registry_load.o $(TEST_CORE) $(CORE)
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(DEPS_LIBS)

## Measure what the registry costs below HTTP
bench-registry: $(BUILD)/tools/registry_load
	@$<

## Measure the config center's part of bench alone
bench-config:
	@$(MAKE) --no-print-directory bench ONLY=config

# Run it after functions of the start were added or renamed, and when "idle, empty" of the bench has grown.
## Write server/start.order, the functions that a start runs
start-order:
	@$(MAKE) --no-print-directory BUILD=build/coverage BIN=build/coverage/bin EXTRA_CFLAGS=--coverage EXTRA_LDFLAGS=--coverage build/coverage/bin/cairnd
	@tests/bench/start_order.sh build/coverage > server/start.order.new && mv server/start.order.new server/start.order

##@ Code and pages
## Check style, layers, headers, pages and warnings; QUICK=1 ends before the compilers, TIDY=1 adds clang-tidy
lint: $(GEN_H) $(ACCESS) $(DOCS)
	@ACCESS=$(ACCESS) DOCS=$(DOCS) tests/lint/lint.sh '$(CPPFLAGS) -isystem $(BUILD)/gen/proto $(CFLAGS)'

## Check the words of comments and pages; PROSE=--list prints each finding and each long sentence
prose:
	@python3 -B tests/lint/prose.py $(PROSE)

# --- fuzz: clang's libFuzzer, its own objects with address and undefined sanitizers ----------------
## Run each fuzz target for FUZZ_SECONDS=20; make fuzz-NAME runs one
fuzz: $(FUZZERS:%=fuzz-%)

fuzz-%: $(GEN_H)
	@PACKAGES="$(PACKAGES)" tests/fuzz/run.sh $* $(FUZZ_SECONDS)

# --- the rest --------------------------------------------------------------------------------
## Install programs, libcairn, manual pages, completions and units; DESTDIR= PREFIX=/usr/local
install: $(BIN)/cairnd $(BIN)/cairnctl sdk-build $(MAN_PAGES) $(COMPLETIONS)
	install -D -m 755 $(BIN)/cairnd $(DESTDIR)$(PREFIX)/bin/cairnd
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|' packaging/cairnd.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/cairnd.service
	install -D -m 644 packaging/cairn.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/cairn.conf
	install -D -m 644 packaging/cairn.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/cairn.conf
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/cairn/README.md
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include $(SDK_HEADERS)
	install -D -m 644 $(SDK_OUT)/libcairn.a $(DESTDIR)$(PREFIX)/lib/libcairn.a
	install -D -m 755 $(SDK_OUT)/libcairn.so.$(SDK_VERSION) $(DESTDIR)$(PREFIX)/lib/libcairn.so.$(SDK_VERSION)
	ln -sf libcairn.so.$(SDK_VERSION) $(DESTDIR)$(PREFIX)/lib/$(SDK_SONAME)
	ln -sf $(SDK_SONAME) $(DESTDIR)$(PREFIX)/lib/libcairn.so
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(SDK_VERSION)|; s|@LIBS@|$(SDK_LIBS)|' sdk/cairn.pc.in >$(DESTDIR)$(PREFIX)/lib/pkgconfig/cairn.pc
	install -d $(DESTDIR)$(PREFIX)/lib/cmake/cairn
	for f in cairnConfig cairnConfigVersion; do sed 's|@VERSION@|$(SDK_VERSION)|; s|@MAJOR@|$(firstword $(subst ., ,$(SDK_VERSION)))|; s|@SONAME@|$(SDK_SONAME)|; s|@LIBS@|$(subst $(SPACE),;,$(strip $(SDK_LIBS)))|' \
	    sdk/$$f.cmake.in >$(DESTDIR)$(PREFIX)/lib/cmake/cairn/$$f.cmake || exit 1; done
	install -D -m 755 $(BIN)/cairnctl $(DESTDIR)$(PREFIX)/bin/cairnctl
	install -D -m 644 $(BUILD)/man/cairnd.1 $(DESTDIR)$(PREFIX)/share/man/man1/cairnd.1
	install -D -m 644 $(BUILD)/man/cairnctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/cairnctl.1
	install -D -m 644 $(BUILD)/completion/bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/cairnctl
	install -D -m 644 $(BUILD)/completion/zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cairnctl
	install -D -m 644 $(BUILD)/completion/fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cairnctl.fish

## Remove build/, bin/ and compile_commands.json
clean:
	rm -rf build bin compile_commands.json

## Lay out the sources with clang-format 14
format:
	@clang-format --version | grep -q 'version 14\.' || { echo 'format: clang-format 14 is needed; others lay out files anew' >&2; exit 1; }
	clang-format -i $$(git ls-files '*.c' '*.h')

compile_commands.json: Makefile $(SOURCES)
	@tests/lint/compile_commands.sh '$(CC) $(CPPFLAGS) -isystem $(BUILD)/gen/proto $(CFLAGS)' $(SOURCES) server/main.c sdk/ctl/main.c > $@
