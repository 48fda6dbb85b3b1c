// Package fairness keeps the objects of API priority and fairness: those that
// every cluster has are there and as they should be, and every FlowSchema says
// in its status whether the level it names exists.
//
// What the objects mean is internal/fairness, which reads them.
package fairness
