package batch

import (
	"fmt"
	"strconv"
	"strings"
)

// interval is a part of a list of indexes such as "1,3-5,7", both ends in it.
type interval struct{ first, last int32 }

func parseInterval(s string, completions int32) (interval, error) {
	parts := strings.Split(s, "-")
	if len(parts) > 2 {
		return interval{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", s)
	}
	var ends [2]int
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return interval{}, fmt.Errorf("cannot convert string to integer for index: %q", part)
		}
		if n >= int(completions) {
			return interval{}, fmt.Errorf("too large index: %q", part)
		}
		ends[i] = n
	}
	if len(parts) == 1 {
		ends[1] = ends[0]
	} else if ends[0] >= ends[1] {
		return interval{}, fmt.Errorf("non-increasing order, previous: %d, current: %d", ends[0], ends[1])
	}
	return interval{int32(ends[0]), int32(ends[1])}, nil
}

// countIndexes tells how many indexes a list names; it must be in order.
func countIndexes(list string, completions int32) (int32, error) {
	if list == "" {
		return 0, nil
	}
	var n int32
	for i, last, parts := 0, int32(0), strings.Split(list, ","); i < len(parts); i++ {
		v, err := parseInterval(parts[i], completions)
		if err != nil {
			return 0, err
		}
		if i > 0 && last >= v.first {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, v.first)
		}
		n += v.last - v.first + 1
		last = v.last
	}
	return n, nil
}

// overlap finds the first index that two lists share. What does not parse is
// passed over: another check reports it.
func overlap(completed, failed string, completions int32) error {
	parse := func(list string) (out []interval) {
		for _, part := range strings.Split(list, ",") {
			if v, err := parseInterval(part, completions); err == nil {
				out = append(out, v)
			}
		}
		return out
	}
	for c, f := parse(completed), parse(failed); len(c) > 0 && len(f) > 0; {
		if c[0].first <= f[0].last && f[0].first <= c[0].last {
			return fmt.Errorf("failedIndexes and completedIndexes overlap at index: %d", max(c[0].first, f[0].first))
		}
		if c[0].first <= f[0].first {
			c = c[1:]
		} else {
			f = f[1:]
		}
	}
	return nil
}
