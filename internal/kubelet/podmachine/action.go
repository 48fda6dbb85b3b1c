package podmachine

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Verb is what to do.
type Verb string

// The verbs.
const (
	MountVolumes    Verb = "MountVolumes"
	RefreshVolumes  Verb = "RefreshVolumes"
	UnmountVolumes  Verb = "UnmountVolumes"
	CreateSandbox   Verb = "CreateSandbox"
	StopSandbox     Verb = "StopSandbox"
	RemoveSandbox   Verb = "RemoveSandbox"
	StartContainer  Verb = "StartContainer"
	KillContainer   Verb = "KillContainer"
	RemoveContainer Verb = "RemoveContainer"
	// BackOff notes that a container waits, and tells the user.
	BackOff Verb = "BackOff"
	// Abort cancels a sandbox creation or a container start under way.
	Abort     Verb = "Abort"
	DeletePod Verb = "DeletePod"
	// ResizePod gives what runs the limits its pod has now.
	ResizePod Verb = "ResizePod"
	RemoveDir Verb = "RemoveDir"
)

// Action is one thing to do. It is idempotent.
type Action struct {
	Verb      Verb
	Container string // name
	ID        string // of the container or sandbox
	Attempt   int32
	Grace     time.Duration // of a kill
	// Reason is a kill's reason ("" for the pod's end); Message what the event says.
	Reason, Message string
	Waiting         Waiting // of a BackOff
	Backoff         *Backoff
}

// Key names what an action works on: one at a time runs per key.
func (a Action) Key() string {
	switch a.Verb {
	case StartContainer:
		return KeyStart
	case MountVolumes, RefreshVolumes, UnmountVolumes:
		return KeyVolumes
	}
	return string(a.Verb) + "/" + a.ID
}

// Keys of actions that are one at a time for the whole pod.
const (
	KeyStart   = "StartContainer"
	KeyVolumes = "Volumes"
	KeySandbox = "CreateSandbox/"
)

// Plan is what Step decides.
type Plan struct {
	Actions []Action
	Status  corev1.PodStatus
	// WakeAt is when to look again without an event; zero for never.
	WakeAt time.Time
	// Over says that nothing of the pod is left on the node.
	Over bool
	// Stopping says that the pod is on its way out.
	Stopping bool
}
