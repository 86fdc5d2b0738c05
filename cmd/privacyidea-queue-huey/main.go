// Command privacyidea-queue-huey is the worker under privacyIDEA's name.
//
// Its options are those that privacyIDEA's manual gives it.
package main

import (
	"os"

	"otpost/internal/cli"
)

func main() { os.Exit(cli.Main("privacyidea-queue-huey", os.Args[1:])) }
