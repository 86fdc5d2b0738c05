// Command privacyidea-queue-huey is the worker under privacyIDEA's name, for `go install ./cmd/...`, which makes no
// links. What is installed and shipped otherwise is a link of this name to otpost.
package main

import (
	"os"

	"otpost/internal/cli"
)

func main() { os.Exit(cli.Main(append([]string{"privacyidea-queue-huey"}, os.Args[1:]...))) }
