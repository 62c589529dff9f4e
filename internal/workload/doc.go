// Package workload reads the training and serving workloads of others: the Jobs,
// training jobs and Deployments that the operator does not own. It is pure: no
// client, no logger, no clock, no context.
//
//	StateOf, ChiefNode   whether a training completed, and on which node
//	IsBlocked            whether a workload waits for a model
//	HasTemplate          whether a workload has the template of a ModelVersion
package workload
