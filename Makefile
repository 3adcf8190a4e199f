# Moongate: `make help` lists the targets.

CC        ?= gcc
ifeq ($(origin CC),default)
CC        := gcc
endif
SANITIZE  ?=
DEVELOPER ?=
V         ?=
PREFIX    ?= /usr/local
DESTDIR   ?=
VECTORS   ?= tests/vectors
VERSION   := $(shell cat VERSION)

# ---- variants: compiler x sanitizer, each in a folder of its own ---------------------------------------------
comma     := ,
ifeq ($(SANITIZE),)
KIND      := plain
else
KIND      := $(subst $(comma),-,$(SANITIZE))
endif
CC_NAME   := $(if $(findstring clang,$(CC)),clang,gcc)
VARIANT   := $(if $(filter plain-gcc,$(KIND)-$(CC_NAME)),plain,$(KIND)-$(CC_NAME))
B         := build/$(VARIANT)

# ---- dependencies --------------------------------------------------------------------------------------------
PKGS      := libuv luajit libcurl libssl libcrypto nettle libsecp256k1 sqlite3
PKG       ?= pkg-config
DEP_CFLAGS  = $(shell $(PKG) --cflags $(PKGS) 2>/dev/null)
# libcurl is loaded when it is needed: net/curl_library.
DEP_LIBS    = $(shell $(PKG) --libs $(filter-out libcurl,$(PKGS)) 2>/dev/null)
# llhttp: Debian's node-llhttp ships C sources and header; they are compiled from where they are.
LLHTTP_SRC ?= /usr/share/llhttp
LLHTTP_INC ?= /usr/share/include/llhttp

WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 \
             -Wno-missing-field-initializers
ifneq ($(DEVELOPER),)
WARN      += -Werror
endif
OPT       ?= -O2 -g
ifneq ($(SANITIZE),)
OPT       := -O1 -g -fno-omit-frame-pointer
SAN       := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
ifeq ($(CC_NAME),gcc)
# gcc guesses wrong about this at -O1 with instrumentation; the plain build keeps the warning.
WARN      += -Wno-maybe-uninitialized
endif
else
HARDEN    := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
endif
# The rooms that a request passes are optimised as one for the program itself; tests link the same objects as they are.
# Not the guard: its jump out of a function must find that function as it was written. LTO= goes without.
LTO       ?= 1
ifneq ($(VARIANT)$(LTO),plain1)
override LTO :=
endif
LTO_ROOMS := base wire net model script flow
LTO_OBJ    = $(filter-out $(B)/core/script/guard.o,$(filter $(LTO_ROOMS:%=$(B)/core/%/%.o),$(OBJ)))
LTO_COMPILE := $(if $(LTO),-flto -ffat-lto-objects)
LTO_LINK    := $(if $(LTO),-flto=auto $(OPT))

CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -Icore -I$(B)/gen -isystem $(LLHTTP_INC) $(DEP_CFLAGS) $(WARN) $(OPT) $(HARDEN) $(SAN) \
             -fvisibility=hidden -fPIE -fno-plt -pthread -ffile-prefix-map=$(CURDIR)=. -DMOONGATE_VERSION='"$(VERSION)"' $(CFLAGS)
LDFLAGS_ALL = -pie -pthread $(if $(LTO),-fno-lto) -Wl,-z,relro,-z,now -Wl,--export-dynamic $(SAN) $(LDFLAGS)
LIBS       = $(DEP_LIBS) -lm -ldl

# ---- what is built -------------------------------------------------------------------------------------------
SRC       := $(sort $(wildcard core/*/*.c))
OBJ        = $(SRC:core/%.c=$(B)/core/%.o)
LIB_OBJ    = $(filter-out $(B)/core/daemon/main.o,$(OBJ)) $(B)/gen/embedded.o $(LLHTTP_OBJ)
LLHTTP_OBJ = $(B)/llhttp/api.o $(B)/llhttp/http.o $(B)/llhttp/llhttp.o
EMBED     := $(sort core/script/abi_decl.h $(wildcard scripts/runtime/*.lua) $(wildcard strategies/*.lua) $(wildcard examples/demo.lua))
UNIT      := $(patsubst tests/unit/%.c,%,$(sort $(wildcard tests/unit/test_*.c)))
FUZZ      := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

ifeq ($(V),)
Q := @
say = @printf '  %-5s %s\n' $(1) $(2)
else
say = @:
endif

.PHONY: all
all: build/moongate

# `build/moongate` is the binary of the variant that was built last.
.PHONY: build/moongate
build/moongate: $(B)/moongate
	$(Q)ln -sf $(VARIANT)/moongate build/moongate

$(B)/moongate: $(B)/core/daemon/main.o $(LIB_OBJ)
	$(call say,LINK,$@)
	$(Q)$(CC) $(filter-out -fno-lto,$(LDFLAGS_ALL)) $(LTO_LINK) -o $@ $^ $(LIBS)

$(LTO_OBJ): LTO_FLAGS := $(LTO_COMPILE)
$(B)/core/%.o: core/%.c $(B)/flags | need-deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(LTO_FLAGS) -MMD -MP -c -o $@ $<

$(B)/llhttp/%.o: $(LLHTTP_SRC)/%.c | need-deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 -DLLHTTP_STRICT_MODE=1 -I$(LLHTTP_INC) $(OPT) $(SAN) -fvisibility=hidden -fPIE -c -o $@ $<

$(B)/gen/embedded.c: scripts/dev/embed.sh $(EMBED)
	@mkdir -p $(@D)
	$(call say,EMBED,$@)
	$(Q)sh scripts/dev/embed.sh $(EMBED) > $@.tmp && mv $@.tmp $@

$(B)/gen/embedded.o: $(B)/gen/embedded.c $(EMBED) | need-deps
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

# A change of compiler or flags rebuilds everything of the variant.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS_ALL) $(LTO_COMPILE))' | cmp -s - $@ || \
	  printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS_ALL) $(LTO_COMPILE))' > $@
.PHONY: FORCE
FORCE:

-include $(OBJ:.o=.d)

.PHONY: need-deps
need-deps:
	@sh scripts/dev/deps.sh check build

# ---- dependencies, running -----------------------------------------------------------------------------------
.PHONY: deps
deps: ## install the missing Debian packages, also those of the tests
	@sh scripts/dev/deps.sh install build test

.PHONY: run
run: ## install what is missing, build, and serve the demo on 127.0.0.1:3000
	@sh scripts/dev/deps.sh install build
	@$(MAKE) --no-print-directory all
	@exec build/moongate demo

# ---- tests ---------------------------------------------------------------------------------------------------
.PHONY: test
test: ## install what the tests need, build, run everything
	@sh scripts/dev/deps.sh install build test
	@sh scripts/dev/test.sh

# What several kinds of tests share.
SUPPORT     := $(sort $(wildcard tests/support/*.c))
SUPPORT_OBJ  = $(SUPPORT:tests/support/%.c=$(B)/support/%.o)

$(B)/support/%.o: tests/support/%.c $(wildcard tests/support/*.h) $(B)/flags | need-deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests -c -o $@ $<

$(B)/tests/%: tests/unit/%.c tests/unit/check.h $(LIB_OBJ) $(SUPPORT_OBJ)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests -Itests/unit -o $@ $< $(LIB_OBJ) $(SUPPORT_OBJ) $(LDFLAGS_ALL) $(LIBS)

# ---- fuzz targets: under libFuzzer with SANITIZE=fuzzer-no-link,…, else with a main that replays a corpus ------
ifneq ($(findstring fuzzer,$(SANITIZE)),)
FUZZ_LINK := -fsanitize=fuzzer
else
FUZZ_MAIN := tests/fuzz/replay_main.c
endif

$(B)/fuzz/%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h) $(FUZZ_MAIN) $(LIB_OBJ) $(SUPPORT_OBJ)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests -o $@ $< $(FUZZ_MAIN) $(LIB_OBJ) $(SUPPORT_OBJ) $(LDFLAGS_ALL) $(FUZZ_LINK) $(LIBS)

# ---- vectors: what others computed, read from VECTORS -----------------------------------------------------------
CHECK_VECTORS := $(sort $(wildcard tests/check-vectors/*.c))

$(B)/check_vectors: $(CHECK_VECTORS) $(wildcard tests/check-vectors/*.h) $(LIB_OBJ) $(SUPPORT_OBJ)
	@sh scripts/dev/deps.sh check vectors
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(shell $(PKG) --cflags jansson 2>/dev/null) -Itests -o $@ $(CHECK_VECTORS) $(LIB_OBJ) \
	  $(SUPPORT_OBJ) $(LDFLAGS_ALL) $(LIBS) $(shell $(PKG) --libs jansson 2>/dev/null)

.PHONY: check-vectors vectors-binary
vectors-binary: $(B)/check_vectors
check-vectors: ## the chain's formats against the test vectors in VECTORS (default: tests/vectors)
	@sh scripts/dev/deps.sh install build vectors
	@$(MAKE) --no-print-directory -s vectors-binary
	@$(B)/check_vectors $(VECTORS)

.PHONY: fuzz-binaries
fuzz-binaries: $(FUZZ:%=$(B)/fuzz/%)

.PHONY: unit-binaries
unit-binaries: $(UNIT:%=$(B)/tests/%)

.PHONY: check-unit
check-unit: unit-binaries ## the unit tests alone
	@sh scripts/dev/run-unit.sh $(B)/tests

.PHONY: check-lua
check-lua: all ## the strategy tests alone, under plain luajit
	@sh scripts/dev/run-lua.sh

.PHONY: check-e2e
check-e2e: all vectors-binary ## the end-to-end tests alone (TEST=name picks one file)
	@sh scripts/dev/run-e2e.sh $(TEST)

.PHONY: check-layers check-headers
check-layers: ## includes only go down the floors
	@awk -f scripts/dev/layers.awk $(sort $(wildcard core/*/*.[ch]))
check-headers: ## each header compiles alone
	@CC='$(CC)' CFLAGS='$(CFLAGS_ALL)' sh scripts/dev/headers.sh $(sort $(wildcard core/*/*.h))

.PHONY: check-fuzz fuzz fuzz-coverage fuzz-minimise fuzz-planted
check-fuzz: ## the fuzz corpus and some mutations of it
	@sh scripts/dev/run-fuzz.sh replay
fuzz: ## search with libFuzzer (clang), FUZZ_SECONDS for each target or those of FUZZ_ONLY; prints the coverage
	@sh scripts/dev/deps.sh install build fuzz
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ_RUNS='$(FUZZ_RUNS)' FUZZ_ONLY='$(FUZZ_ONLY)' sh scripts/dev/run-fuzz.sh search
fuzz-coverage: ## which part of each parser the corpora reach
	@sh scripts/dev/deps.sh install build fuzz
	@FUZZ_ONLY='$(FUZZ_ONLY)' sh scripts/dev/run-fuzz.sh coverage
fuzz-minimise: ## take what `make fuzz` has found, and reaches more, into the corpora
	@sh scripts/dev/deps.sh install build fuzz
	@FUZZ_ONLY='$(FUZZ_ONLY)' sh scripts/dev/run-fuzz.sh minimise
fuzz-planted: ## whether each target would find a bug: one is planted in a copy of the sources
	@sh scripts/dev/deps.sh install build fuzz
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' FUZZ_ONLY='$(FUZZ_ONLY)' sh scripts/dev/run-fuzz.sh planted

# ---- source care ---------------------------------------------------------------------------------------------
C_FILES   := $(sort $(wildcard core/*/*.[ch] tests/unit/*.[ch] tests/support/*.[ch] tests/check-vectors/*.[ch] tests/fuzz/*.[ch] \
             tests/bench/*.[ch]))
LUA_DIRS  := $(wildcard scripts strategies examples tests/lua)

.PHONY: format format-check
format: ## lay out the C files with clang-format
	clang-format -i $(C_FILES)
format-check: ## tell which C files `make format` would change
	@err=0; for f in $(C_FILES); do \
	  clang-format --dry-run -Werror $$f >/dev/null 2>&1 || { echo "$$f: make format would change it"; err=1; }; \
	done; exit $$err

.PHONY: luacheck lint
luacheck: ## luacheck over all Lua files
	@luacheck --no-color -q $(if $(wildcard .luacheckrc),,--std luajit --max-line-length 140 --read-globals lb env --) $(LUA_DIRS)
lint: $(B)/gen/embedded.c ## clang-tidy, cppcheck and luacheck, those that are installed
	@err=0; \
	if command -v clang-tidy >/dev/null; then clang-tidy -quiet $(SRC) -- $(filter-out -Werror,$(CFLAGS_ALL)) || err=1; \
	else echo 'clang-tidy is not installed'; fi; \
	if command -v cppcheck >/dev/null; then \
	  cppcheck -q --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem --suppress=internalAstError --library=posix -Icore -I$(B)/gen -D_GNU_SOURCE core || err=1; \
	else echo 'cppcheck is not installed'; fi; \
	if command -v luacheck >/dev/null; then $(MAKE) --no-print-directory luacheck || err=1; \
	else echo 'luacheck is not installed'; fi; \
	exit $$err

# ---- installation --------------------------------------------------------------------------------------------
.PHONY: install
install: all ## binary, man page, strategies and documents below DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/moongate/strategies $(DESTDIR)$(PREFIX)/share/doc/moongate
	install -m 755 $(B)/moongate $(DESTDIR)$(PREFIX)/bin/moongate
	install -m 644 $(sort $(wildcard strategies/*.lua)) $(DESTDIR)$(PREFIX)/share/moongate/strategies
	install -m 644 $(wildcard LICENSE README.md CHANGELOG.md) $(DESTDIR)$(PREFIX)/share/doc/moongate
ifneq ($(wildcard man/moongate.1),)
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 man/moongate.1 $(DESTDIR)$(PREFIX)/share/man/man1/moongate.1
endif

.PHONY: bench
bench: ## all figures beside nginx and HAProxy, into tests/bench/results (BENCH='--rounds 3 --parts chat')
	@sh scripts/dev/deps.sh install build test bench
	@$(MAKE) --no-print-directory all $(B)/bench/load
	@sh scripts/dev/run-bench.sh $(B) > $(B)/bench/native.md
	@LOAD=$(B)/bench/load node tests/bench/bench.mjs --native $(B)/bench/native.md --out tests/bench/results $(BENCH)

$(B)/bench/load: tests/bench/load.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -o $@ $<

.PHONY: robustness
robustness: all ## what faults, reloads, upgrades, kills and crowds cost clients and the machine, against the bounds (PARTS=NAMES)
	@sh scripts/dev/deps.sh install build test
	@MOONGATE=$(B)/moongate node tests/bench/robustness.mjs $(PARTS)

.PHONY: strictness
strictness: all ## the same hostile bytes to Moongate, HAProxy and nginx: writes tests/STRICTNESS.md
	@sh scripts/dev/deps.sh install build test bench
	@MOONGATE=$(B)/moongate node tests/bench/strictness.mjs tests/STRICTNESS.md && tail -n 6 tests/STRICTNESS.md

$(B)/bench/%: tests/bench/%.c $(LIB_OBJ)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $< $(LIB_OBJ) $(LDFLAGS_ALL) $(LIBS)

$(B)/bench/%.so: tests/bench/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O2 -shared -fPIC -o $@ $<

.PHONY: check-cost cost-update
check-cost: all $(B)/bench/count_calls.so $(B)/bench/slow_clock.so ## instructions and allocations per request against tests/bench/cost.json
	@MOONGATE=$(B)/moongate node tests/bench/cost.mjs $(COST)
cost-update: all $(B)/bench/count_calls.so $(B)/bench/slow_clock.so ## writes the figures of check-cost to tests/bench/cost.json
	@MOONGATE=$(B)/moongate node tests/bench/cost.mjs --update

.PHONY: clean
clean: ## remove everything that was built
	rm -rf build

.PHONY: help
help: ## this text
	@echo 'Moongate $(VERSION): targets'
	@sed -n 's/^\([a-z][a-z0-9 -]*\):.*## \(.*\)/  \1 | \2/p' Makefile | awk -F' \\| ' '{printf "  %-16s %s\n", $$1, $$2}'
	@echo 'Variables: CC=gcc|clang  SANITIZE=address,undefined|thread  DEVELOPER=1  V=1  LTO=  DESTDIR= PREFIX=  FUZZ_SECONDS=60  FUZZ_ONLY=NAMES  VECTORS=DIR'
