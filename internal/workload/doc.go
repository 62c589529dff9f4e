// Package workload reads the training and serving workloads of others: the Jobs,
// training jobs and Deployments that the operator does not own.
package workload
