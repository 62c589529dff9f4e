// Package workload reads the training and serving workloads of others: the Jobs,
// training jobs and Deployments that the operator does not own. It is pure: no
// client, no logger, no clock, no context.
//
//	Kind.StateOf         whether a training completed, by the rules of its kind
//	ChiefNode            on which node it ran
//	IsBlocked            whether a workload waits for a model
//	HasTemplate          whether a workload has the template of a ModelVersion
package workload
