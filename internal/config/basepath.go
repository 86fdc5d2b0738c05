package config

import (
	"regexp"
	"slices"
	"strings"
)

// basePath matches a path without a slash at its end. Its characters need no escape in a URL (RFC
// 3986, "unreserved").
var basePath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`) //nolint:gochecknoglobals // a constant pattern

// CheckBasePath returns a base path without the slash at its end, empty for the root. It may have
// up to 200 characters.
func CheckBasePath(path string) (string, error) {
	path = strings.TrimSuffix(strings.TrimSpace(path), "/")
	if path == "" {
		return "", nil
	}
	segments := strings.Split(path, "/")
	if !basePath.MatchString(path) || len(path) > 200 || slices.Contains(segments, ".") ||
		slices.Contains(segments, "..") {
		return "", problem{"is not a base path", "write /pi: a slash, then letters, digits, - . _ ~"}
	}
	return path, nil
}

func readBasePath(c *Config, v value) error {
	text, err := v.text()
	if err != nil {
		return err
	}
	if c.BasePath, err = CheckBasePath(text); err != nil {
		return inFile(v.at, v.key, err)
	}
	return nil
}
