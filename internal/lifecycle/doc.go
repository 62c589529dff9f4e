// Package lifecycle decides what happens to a ModelVersion. NextStep (next.go)
// takes everything that a pass has read, and returns what to create, update,
// terminate or delete, and the status after that. It is pure: no client, no logger,
// no clock, no context.
//
//	SelectWorkflow   select.go      which Workflow a ModelVersion follows, of those that build it (builds.go)
//	WorkflowOutcome  outcome.go     what that Workflow means (retry.go, nodes.go, proof.go)
//	NextStep         next.go        what to do (pending.go, progress.go, training.go)
//	whenReady        ready.go       what to do after a success
//	statusOf         status.go      the only place that turns a decision into a status
//	Join             membership.go  what makes a ModelVersion a part of its Model
//	Latest           latest.go      which ModelVersion is its Model's latest
//	FromTemplate     template.go    the ModelVersion of a workload's template
//
// The states of a ModelVersion:
//
//	                 create                    Workflow succeeds, valid report
//	(new) ──────────────────────▶ building ─────────────────────────────────▶ Ready
//	  │ cannot be built             │  ▲                                         │
//	  ▼                             │  │ retry, resubmit, spec.build edited,     │ the registry has lost
//	stalled             any other   │  │ rebuild annotation                      │ the image, and it cannot
//	                       ending   ▼  │                                         │ be built again
//	                             failed ◀────────────────────────────────────────┘
package lifecycle
