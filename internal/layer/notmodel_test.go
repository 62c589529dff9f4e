package layer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFindNotModel(t *testing.T) {
	const mib = 1 << 20
	tests := map[string]struct {
		listing []SourceEntry
		want    NotModel
	}{
		"a model": {listing: []SourceEntry{file("model.safetensors", 900*mib), file("optimizer.pt", 100)}},
		"a repository": {
			listing: []SourceEntry{file("model.safetensors", 300*mib), dir(".git"), dir(".git/lfs"), file(".git/lfs/1", 300*mib), file(".git/HEAD", 1)},
			want:    NotModel{Bytes: 300*mib + 1, Paths: []string{".git"}, Patterns: []string{".git/"}},
		},
		"a repository in a directory": {
			listing: []SourceEntry{dir("a"), file("a/model.safetensors", 300*mib), dir("a/.git"), file("a/.git/1", 300*mib)},
			want:    NotModel{Bytes: 300 * mib, Paths: []string{"a/.git"}, Patterns: []string{".git/"}},
		},
		"checkpoints beside weights": {
			listing: []SourceEntry{
				file("model.safetensors", 300*mib), dir("checkpoint-1"), file("checkpoint-1/model.safetensors", 300*mib), dir("checkpoint-2"), file("checkpoint-2/model.safetensors", 301*mib),
				dir("checkpoint-2/global_step9"), file("checkpoint-2/global_step9/x", 1),
			},
			want: NotModel{Bytes: 601*mib + 1, Paths: []string{"checkpoint-2", "checkpoint-1"}, Patterns: []string{"/checkpoint-*/"}},
		},
		"checkpoints that are the model": {listing: []SourceEntry{
			file("training_args.bin", mib), dir("checkpoint-1"), file("checkpoint-1/model.safetensors", 300*mib), dir("global_step1"), file("global_step1/mp_rank_00_model_states.pt", 300*mib),
		}},
		"checkpoints to which weights are links": {listing: []SourceEntry{
			link("model.safetensors", "checkpoint-1/model.safetensors"), dir("checkpoint-1"), file("checkpoint-1/model.safetensors", 300*mib),
		}},
		"states of a training": {
			listing: []SourceEntry{
				file("pytorch_model.bin", 300*mib), file("optimizer.pt", 600*mib), file("rng_state_0.pth", 1), dir("zero"),
				file("zero/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", 700*mib),
			},
			want: NotModel{
				Bytes: 1300*mib + 1, Paths: []string{"zero/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "optimizer.pt", "rng_state_0.pth"},
				Patterns: []string{"optimizer.pt", "rng_state*", "*_optim_states.pt"},
			},
		},
		"snapshots of a file server": {
			listing: []SourceEntry{file("model.gguf", 300*mib), dir(".snapshot"), dir(".snapshot/hourly"), file(".snapshot/hourly/model.gguf", 300*mib)},
			want:    NotModel{Bytes: 300 * mib, Paths: []string{".snapshot"}, Patterns: []string{".snapshot/"}},
		},
		"a file that is named as a directory":  {listing: []SourceEntry{file("model.gguf", 300*mib), file(".cache", 300*mib)}},
		"a quarter":                            {listing: []SourceEntry{file("model.gguf", 600*mib), file("optimizer.pt", 200*mib)}},
		"hardly more than a quarter":           {listing: []SourceEntry{file("model.gguf", 600*mib), file("optimizer.pt", 200*mib+2)}, want: NotModel{Bytes: 200*mib + 2, Paths: []string{"optimizer.pt"}, Patterns: []string{"optimizer.pt"}}},
		"most of a model that is small anyway": {listing: []SourceEntry{file("model.gguf", mib), file("optimizer.pt", 100*mib)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plan, err := NewPlan(append(tt.listing, dir(RootDir)))
			require.NoError(t, err)
			assert.Equal(t, tt.want, FindNotModel(plan.Entries()))
		})
	}
}
