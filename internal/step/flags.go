package step

import (
	"strconv"
	"strings"
)

// list reads a flag's value, whose items are separated by commas; an empty
// value is an empty list.
func list(into *[]string) func(string) error {
	return func(value string) error {
		*into = nil
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*into = append(*into, item)
			}
		}
		return nil
	}
}

// boolean reads a flag's value; an empty value is false.
func boolean(into *bool) func(string) error {
	return func(value string) error {
		if value == "" {
			*into = false
			return nil
		}
		parsed, err := strconv.ParseBool(value)
		*into = parsed
		return err
	}
}
