package fairness

import (
	"crypto/sha256"
	"encoding/binary"
)

// maxHand is the most queues a flow may use; validation allows no more.
const maxHand = 15

// flowHash is the entropy that picks a flow's queues.
func flowHash(schema, flow string) uint64 {
	var space [192]byte
	b := append(space[:0], schema...)
	b = append(b, 0)
	b = append(b, flow...)
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:8])
}

// deal picks hand different queues out of deck, as the hash says: each flow
// gets a hand of its own, and two flows seldom share all of it.
func deal(hash uint64, deck, hand int, cards *[maxHand]int) []int {
	for i := range hand {
		left := uint64(deck - i)
		cards[i] = int(hash % left)
		hash /= left
	}
	// a card counts among those still in the deck: turn it into its number, the
	// last dealt first, so that the earlier ones are still counts when used
	for i := hand - 1; i > 0; i-- {
		for j := i - 1; j >= 0; j-- {
			if cards[i] >= cards[j] {
				cards[i]++
			}
		}
	}
	return cards[:hand]
}
