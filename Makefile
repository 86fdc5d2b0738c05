# `make` lists the targets. Everything is built with CGO_ENABLED=0; one build variant only, for each other one compiles every
# module again (no -trimpath, no -ldflags).

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX:%/=%)),/etc,$(PREFIX)/etc)
DOCDIR ?= $(PREFIX)/share/doc/otpost
BIN ?= bin
DEPS = $${OTPOST_DEPS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/otpost-deps}
LINT_VERSION = v2.15.0
FUZZTIME ?= 20s
# The tests that OTPOST_SOAK makes longer, but for those of soak and model; test/docs compares the list with the tests.
LONG = ^(TestClaimPastAFullLaneCostsNoMore|TestDamagedRowsTakeNoListDown|TestFreshJobGoesBeforeABacklogOfStaleOnes|TestFullDiskUnderLoad|$\
	TestGuessCostsNoMoreAtAFullTable|TestHungRedisTakesABoundedMemory|TestKillLoopWithRedis|$\
	TestLoginsBesideGuessesCostNoMoreAtAFullTable|TestPollersOfACostlyListLeaveTheWALShort|TestRelayLeavesTheWriterToLogins|$\
	TestRetriesComeInTimeWhateverRedisClockSays|TestSlowMailServersHoldNoOtherMail)$$
export CGO_ENABLED = 0

.DEFAULT_GOAL := help
.PHONY: help build test race lint fuzz e2e images soak long model stress bench-logins bench-overview demo install check clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/otpost, and link bin/privacyidea-queue-huey to it
	go build -o "$(BIN)/otpost" ./cmd/otpost
	ln -sf otpost "$(BIN)/privacyidea-queue-huey"

test: ## bring what the tests need, then vet, build and run all of them (5 minutes on two cores)
	scripts/test

race: ## run all tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./...

lint: ## run golangci-lint, installed once into $OTPOST_DEPS/bin, and luacheck (lua-check of Debian)
	@command -v "$(DEPS)/bin/golangci-lint-$(LINT_VERSION)" >/dev/null || { \
		GOBIN="$(DEPS)/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION) && \
		mv "$(DEPS)/bin/golangci-lint" "$(DEPS)/bin/golangci-lint-$(LINT_VERSION)"; }
	"$(DEPS)/bin/golangci-lint-$(LINT_VERSION)" run ./...
	@command -v luacheck >/dev/null || { echo "luacheck is missing: apt-get install lua-check"; exit 1; }
	luacheck --quiet internal/queue/redisq/lua

fuzz: ## run each fuzz target for FUZZTIME (20s)
	@grep -rl --include='*_test.go' '^func Fuzz' internal | while read -r f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$f"); do \
			echo "$$t in $$(dirname "$$f")"; \
			go test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$f")" || exit 1; \
		done; \
	done

e2e: ## run the end-to-end tests alone, with every program they need required
	scripts/deps
	eval "$$(scripts/deps --print-env)" && OTPOST_TEST_REQUIRE=all go test -count=1 $$(go list ./test/... | grep -v /test/plans)

images: ## take the screenshots of the pages anew into docs/images
	scripts/deps chromium
	rm -f docs/images/*.png
	OTPOST_IMAGES=$(CURDIR)/docs/images go test -count=1 -parallel 4 ./test/browser

soak: ## kill worker, server and Redis with -9 a hundred times while logins come in; take Redis away for a minute; stop them fifty times under load (10 minutes)
	OTPOST_SOAK=100 go test -count=1 -v -timeout 20m -run TestKillLoop ./test
	OTPOST_SOAK=100 go test -count=1 -v -timeout 20m -parallel 2 -run TestLoginsGoOnWithoutRedis ./test
	OTPOST_SOAK=50 go test -count=1 -v -timeout 20m -run TestStopLoop ./test

long: ## run each test that has a long version in that version, once (an hour): outages, floods, full tables, and what compares times
	scripts/deps
	eval "$$(scripts/deps --print-env)" && export OTPOST_TEST_REQUIRE=all OTPOST_SOAK=1 && \
	go test -count=1 -v -timeout 60m -parallel 1 -run '$(LONG)' ./test && \
	go test -count=1 -v -timeout 30m -parallel 1 -run '$(LONG)' ./internal/access ./internal/delivery ./internal/queue/redisq

model: ## search the delivery protocol's model at its large bounds (test/model; two minutes, 2 GiB of memory)
	OTPOST_SOAK=1 go test -count=1 -v -timeout 60m -run TestTheProtocolHolds ./test/model

stress: ## run the whole suite RUNS times (20) while four busy loops take the processors (hours)
	scripts/stress $(RUNS)

bench-logins: ## measure 10,000 logins from end to end (docs/performance.md; 90 s)
	OTPOST_BENCH_LOGINS=10000 go test -count=1 -v -run TestLogins ./bench/logins

bench-overview: ## measure the overview's page on 100,000 deliveries (docs/performance.md; 15 s)
	OTPOST_BENCH_OVERVIEW=100000 go test -count=1 -v -run TestOverviewIsQuickOnManyDeliveries ./test/browser

demo: ## run otpost demo: one login, inline and queued, in one process
	go run ./cmd/otpost demo

install: build ## install the program, its link, services, sample files and manual below PREFIX (/usr/local); what is in SYSCONFDIR (/etc; with another PREFIX its etc) stays
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$(DESTDIR)$(PREFIX)/lib/sysusers.d" \
		"$(DESTDIR)$(DOCDIR)" "$(DESTDIR)$(SYSCONFDIR)/default" "$(DESTDIR)$(SYSCONFDIR)/logrotate.d"
	install -m 0755 "$(BIN)/otpost" "$(DESTDIR)$(PREFIX)/bin/"
	ln -sf otpost "$(DESTDIR)$(PREFIX)/bin/privacyidea-queue-huey"
	for unit in otpost otpost-worker; do \
		sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' "packaging/systemd/$$unit.service" \
			>"$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service" && \
		chmod 0644 "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service" || exit 1; \
	done
	install -m 0644 packaging/systemd/otpost.sysusers "$(DESTDIR)$(PREFIX)/lib/sysusers.d/otpost.conf"
	install -m 0644 packaging/pi.cfg.sample packaging/container/compose.yaml packaging/container/Dockerfile docs/*.md docs/passwd.sample CHANGELOG.md SECURITY.md LICENSE "$(DESTDIR)$(DOCDIR)/"
	sed -i -e 's|](\.\./|](|g' -e 's|](docs/|](|g' "$(DESTDIR)$(DOCDIR)"/*.md # SECURITY.md stands beside the manual there
	install -d "$(DESTDIR)$(DOCDIR)/decisions"
	install -m 0644 docs/decisions/*.md "$(DESTDIR)$(DOCDIR)/decisions/"
	for picture in $$(grep -oh 'images/[a-z0-9-]*\.png' docs/*.md | sort -u); do \
		install -D -m 0644 "docs/$$picture" "$(DESTDIR)$(DOCDIR)/$$picture" || exit 1; \
	done
	[ -e "$(DESTDIR)$(SYSCONFDIR)/default/otpost" ] || \
		install -m 0644 packaging/otpost.default "$(DESTDIR)$(SYSCONFDIR)/default/otpost"
	[ -e "$(DESTDIR)$(SYSCONFDIR)/logrotate.d/otpost" ] || \
		install -m 0644 packaging/otpost.logrotate "$(DESTDIR)$(SYSCONFDIR)/logrotate.d/otpost"

check: test lint ## what a change must pass: test and lint

clean: ## remove bin/
	rm -rf bin
