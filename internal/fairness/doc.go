// Package fairness keeps one user's requests from starving another's.
//
// Every request is classified by the cluster's FlowSchemas into a flow of a
// priority level. A level has a share of the server's seats; a request takes
// one or more of them while it is served, or waits in one of the level's queues
// until it is its flow's turn. Levels lend seats they do not use.
//
//	Begin → classify (classify.go) → estimate (estimate.go) → take seats, wait or refuse (level.go) → Ticket.End
//
// What is decided lives in files without effects: classify.go, estimate.go,
// share.go (who may use how many seats), shuffle.go (which queues a flow may
// use). level.go is the state of one level under its lock; a request that finds
// free seats passes it in constant time. config.go turns API objects into an
// immutable snapshot that requests read without a lock.
//
// Lock order: Fairness.mu, then level.mu; dropTracker.mu is a leaf. None is held
// while a request waits or is served.
//
// The room reads the FlowSchemas and PriorityLevelConfigurations through the
// object cache and writes nothing: their status and the objects every cluster
// has are kept by internal/controllers/fairness.
//
// Tests: tables, properties, and synctest for everything that waits.
package fairness
