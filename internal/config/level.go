package config

import "log/slog"

// level is a name of Python's module logging with its number ("Logging Levels" in Python's manual).
type level struct {
	name  string
	value int
}

func pythonLevels() []level {
	return []level{
		{"NOTSET", 0}, {"DEBUG", 10}, {"INFO", 20}, {"WARNING", 30}, {"WARN", 30}, {"ERROR", 40}, {"CRITICAL", 50},
		{"FATAL", 50},
	}
}

// pythonLevel returns the number of a name.
func pythonLevel(name string) (int, bool) {
	for _, l := range pythonLevels() {
		if l.name == name {
			return l.value, true
		}
	}
	return 0, false
}

// slogLevel returns the lowest level of slog that a logger at Python's level n writes. Levels above
// Error are Error, and 9 (at which the original logs passwords) is Debug.
func slogLevel(n int64) slog.Level {
	switch {
	case n <= 10:
		return slog.LevelDebug
	case n <= 20:
		return slog.LevelInfo
	case n <= 30:
		return slog.LevelWarn
	}
	return slog.LevelError
}
