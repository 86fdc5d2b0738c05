// Command otpost is the authentication server, its worker and its tools. `otpost --help` lists them. Started under
// the name privacyidea-queue-huey (a link is enough) it is privacyIDEA's worker.
package main

import (
	"os"

	"otpost/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args)) }
