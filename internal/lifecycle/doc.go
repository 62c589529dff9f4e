// Package lifecycle decides what happens to a ModelVersion. NextStep (next.go)
// takes everything that a pass has read, and returns what to create, terminate or
// delete, and the status after that. It is pure: no client, no logger, no
// clock, no context.
//
//	SelectWorkflow   select.go    which Workflow a ModelVersion follows
//	WorkflowOutcome  outcome.go   what that Workflow means (retry.go, nodes.go, proof.go)
//	NextStep         next.go      what to do (pending.go, progress.go, training.go)
//	statusOf         status.go    the only place that turns a decision into a status
//	Latest           latest.go    which ModelVersion is its Model's latest
//	FromTemplate     template.go  the ModelVersion of a workload's template
//
// The states of a ModelVersion:
//
//	                 create                    Workflow succeeds, valid report
//	(new) ──────────────────────▶ building ─────────────────────────────────▶ Ready (final)
//	  │ cannot be built             │  ▲
//	  ▼                             │  │ retry, resubmit, spec.build edited,
//	stalled             any other   │  │ rebuild annotation
//	                       ending   ▼  │
//	                             failed
package lifecycle
