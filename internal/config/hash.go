package config

import (
	"fmt"
	"maps"
	"slices"
)

// bounds are the lowest and the highest value of a parameter.
type bounds struct{ least, most int64 }

// hashParam returns the bounds of a parameter of PI_HASH_ALGO_PARAMS. Names are passlib's
// ("CryptContext", scheme__option); above the highest values a stored hash is refused
// (docs/security.md, "Secrets at rest").
func hashParam(name string) (bounds, bool) {
	switch name {
	case "argon2__rounds":
		return bounds{1, 16}, true
	case "argon2__memory_cost": // KiB
		return bounds{8, 256 << 10}, true
	case "argon2__parallelism":
		return bounds{1, 16}, true
	case "pbkdf2_sha512__rounds":
		return bounds{1, 1_000_000}, true
	}
	return bounds{}, false
}

// readHashParams leaves names that it does not know to the warning of unknown settings.
func readHashParams(c *Config, v value) error {
	params, err := v.flat()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		b, ok := hashParam(name)
		if !ok {
			continue
		}
		n, ok := params[name].(int64)
		if !ok || n < b.least || n > b.most {
			return v.fail(problem{fmt.Sprintf("%s is out of bounds", name),
				fmt.Sprintf("write an integer from %d to %d", b.least, b.most)})
		}
		if c.HashParams == nil {
			c.HashParams = map[string]int{}
		}
		c.HashParams[name] = int(n)
	}
	return nil
}
