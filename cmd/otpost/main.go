// Command otpost is the authentication server, its worker and its tools. `otpost --help` lists them.
package main

import (
	"os"

	"otpost/internal/cli"
)

func main() { os.Exit(cli.Main("otpost", os.Args[1:])) }
