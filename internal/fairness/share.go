package fairness

import (
	"errors"
	"fmt"
	"math"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// smoothing says how slowly a level's known demand falls.
const smoothing = 0.977

// share is what a level's configuration gives it.
type share struct {
	nominal int // seats it has by its shares
	least   int // of them, those it does not lend
	most    int // with what it may borrow
}

// terms are the numbers of a level's specification.
type terms struct {
	shares   int32
	lendable int32
	borrow   *int32 // nil: any number
}

func termsOf(spec *flowcontrolv1.PriorityLevelConfigurationSpec) terms {
	value := func(p *int32, otherwise int32) int32 {
		if p == nil {
			return otherwise
		}
		return *p
	}
	if l := spec.Limited; l != nil {
		return terms{value(l.NominalConcurrencyShares, 30), value(l.LendablePercent, 0), l.BorrowingLimitPercent}
	}
	if e := spec.Exempt; e != nil {
		return terms{value(e.NominalConcurrencyShares, 0), value(e.LendablePercent, 0), nil}
	}
	return terms{}
}

// divide gives each level its part of the server's seats. Parts are rounded up.
func divide(seats int, all []terms) []share {
	var sum float64
	for _, t := range all {
		sum += float64(t.shares)
	}
	out := make([]share, len(all))
	for i, t := range all {
		if sum == 0 {
			continue
		}
		n := int(math.Ceil(float64(seats) * float64(t.shares) / sum))
		borrow := seats
		if t.borrow != nil {
			borrow = percent(n, *t.borrow)
		}
		out[i] = share{nominal: n, least: n - percent(n, t.lendable), most: n + borrow}
	}
	return out
}

func percent(n int, p int32) int { return int(math.Round(float64(n) * float64(p) / 100)) }

// demand is what a level has asked for, as of the last adjustment.
type demand struct {
	peak              int // seats in use or waited for, at most, in the last period
	mean, dev, smooth float64
}

// update takes in the demand of another period.
func (d *demand) update(p period) {
	d.peak = int(math.Round(p.peak))
	if p.seconds <= 0 {
		return
	}
	d.mean, d.dev = p.meanAndDeviation()
	envelope := d.mean + d.dev
	d.smooth = max(envelope, smoothing*d.smooth+(1-smoothing)*envelope)
}

// period integrates a number of seats over time.
type period struct {
	seconds, x, xx float64 // integrals of 1, x and x²
	peak           float64
}

func (p *period) add(seconds, x float64) {
	p.seconds += seconds
	p.x += x * seconds
	p.xx += x * x * seconds
}

func (p *period) meanAndDeviation() (mean, dev float64) {
	mean = p.x / p.seconds
	if v := p.xx/p.seconds - mean*mean; v > 0 {
		dev = math.Sqrt(v)
	}
	return mean, dev
}

// claim is a level's part in the sharing out.
type claim struct {
	share
	demand
	exempt bool
}

// floor is what the level is not put below: what it needed lately of what is its own.
func (c claim) floor() int {
	if c.exempt {
		return max(c.least, c.peak)
	}
	return max(c.least, min(c.nominal, c.peak))
}

func (c claim) target() float64 { return max(float64(c.floor()), c.smooth) }

// lend shares the seats out by demand, within what each level lends and may
// borrow. Exempt levels take what they take; fair is the fraction of its target
// that a level without bounds gets.
func lend(claims []claim) (current []int, fair float64) {
	current = make([]int, len(claims))
	var limited []int
	left, floors, leasts, sum := 0, 0, 0, 0
	for i, c := range claims {
		sum += c.nominal
		if c.exempt {
			current[i] = c.floor()
			left -= current[i]
			continue
		}
		limited = append(limited, i)
		floors += c.floor()
		leasts += c.least
	}
	left += sum
	switch {
	case len(limited) == 0:
	case left <= leasts:
		for _, i := range limited {
			current[i] = claims[i].least
		}
	case left <= floors:
		f := float64(left-leasts) / float64(floors-leasts)
		for _, i := range limited {
			c := claims[i]
			current[i] = c.least + int(math.Round(float64(c.floor()-c.least)*f))
		}
	default:
		parts := make([]part, len(limited))
		for n, i := range limited {
			parts[n] = part{float64(claims[i].floor()), float64(claims[i].most), claims[i].target()}
		}
		got, f, err := apportion(float64(sum), parts)
		if err != nil { // bounds that cannot be met: each has its own
			for _, i := range limited {
				current[i] = claims[i].nominal
			}
			return current, 0
		}
		fair = f
		for n, i := range limited {
			current[i] = int(math.Round(got[n]))
		}
	}
	return current, fair
}

// part is one taker of a sum.
type part struct{ low, high, target float64 }

const minTarget = 0.001

// apportion splits a sum so that each part is the same fraction of its target,
// but no less than low and no more than high. The sum of the parts grows with
// the fraction, in straight lines between the fractions at which a part meets a
// bound; so walk along these.
func apportion(sum float64, parts []part) ([]float64, float64, error) {
	var low, high float64
	bends := make([]float64, 0, 2*len(parts))
	for i := range parts {
		p := &parts[i]
		if p.low < 0 || p.high < p.low {
			return nil, 0, fmt.Errorf("fairness: the bounds %g and %g cannot be met", p.low, p.high)
		}
		p.target = max(p.target, minTarget)
		low, high = low+p.low, high+p.high
		bends = append(bends, p.low/p.target, p.high/p.target)
	}
	const hair = 1e-7
	if sum < low-hair || sum > high+hair {
		return nil, 0, errors.New("fairness: the sum lies outside of what the bounds allow")
	}
	at := func(f float64) (total float64) {
		for _, p := range parts {
			total += min(max(f*p.target, p.low), p.high)
		}
		return total
	}
	slices.Sort(bends)
	fair := bends[0]
	for i, b := range bends {
		if have := at(b); have >= sum-hair {
			fair = b
			if i > 0 && have > sum {
				from := bends[i-1]
				if before := at(from); have > before {
					fair = from + (b-from)*(sum-before)/(have-before)
				}
			}
			break
		}
		fair = b
	}
	out := make([]float64, len(parts))
	for i, p := range parts {
		out[i] = min(max(fair*p.target, p.low), p.high)
	}
	return out, fair, nil
}
