// Package translate holds the thinking of the operator as pure functions: no
// client, no logger, no clock, no context. Three arrows cross it:
//
//	ModelVersion ──Workflow──▶ Workflow        workflow.go (arguments: contract.go, storage.go, image.go, name.go; volume.go)
//	Workflow ─────Outcome────▶ ModelVersion's status     outcome.go, status.go
//	ModelVersions ──Latest───▶ Model's latest version    latest.go
//
// A fourth, Training (training.go), gives a version's storage to a pod that
// trains it. NextStep (next.go) decides, from everything a reconcile has read,
// which of the three to follow: create an attempt, follow one, end one, or leave
// the version as it is.
//
//	                 create                    Workflow ends, valid report
//	(new) ──────────────────────▶ building ─────────────────────────────────▶ Ready (final)
//	  │ cannot be built             │  ▲
//	  ▼                             │  │ retry, resubmit, build edited,
//	stalled               any other │  │ rebuild annotation
//	                            end ▼  │
//	                             failed
package translate
