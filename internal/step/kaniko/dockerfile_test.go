package kaniko

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

var pinned = "registry.example.com:5000/base/busybox@sha256:" + strings.Repeat("0a", 32)

func newDockerfile(edit func(d *dockerfile)) dockerfile {
	d := dockerfile{Base: pinned, Program: "/kiln/modelkiln-step", Arguments: []string{"--shared=/kiln"}, Layers: 2}
	edit(&d)
	return d
}

func TestDockerfileText(t *testing.T) {
	tests := map[string]struct {
		d    dockerfile
		want string
	}{
		"a base image without a user": {
			d: newDockerfile(func(*dockerfile) {}),
			want: "FROM " + pinned + `
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--layer=0"]
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--layer=1"]
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--finish"]
`,
		},
		"no base image": {
			d: newDockerfile(func(d *dockerfile) { d.Base, d.Layers = handoff.Scratch, 1 }),
			want: `FROM scratch
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--layer=0"]
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--finish"]
`,
		},
		"a base image with a user": {
			d: newDockerfile(func(d *dockerfile) { d.HasUser, d.Layers = true, 1 }),
			want: "FROM " + pinned + `
USER ""
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--layer=0"]
RUN ["/kiln/modelkiln-step","pack","--shared=/kiln","--finish"]
`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.d.text()
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestDockerfileTextRejectsUnsafeParts(t *testing.T) {
	tests := map[string]func(d *dockerfile){
		"a base by tag":                  func(d *dockerfile) { d.Base = "busybox:1.37" },
		"a base with a line break":       func(d *dockerfile) { d.Base = pinned + "\nRUN id" },
		"a base with a stage name":       func(d *dockerfile) { d.Base = pinned + " AS x" },
		"a base with a variable":         func(d *dockerfile) { d.Base = "$BASE@sha256:" + strings.Repeat("0a", 32) },
		"a base with a platform":         func(d *dockerfile) { d.Base = "--platform=linux/arm64 " + pinned },
		"a short form of a base":         func(d *dockerfile) { d.Base = "busybox@sha256:" + strings.Repeat("0a", 32) },
		"no base":                        func(d *dockerfile) { d.Base = "" },
		"a program with a quote":         func(d *dockerfile) { d.Program = `/kiln/"x` },
		"an argument with a here-doc":    func(d *dockerfile) { d.Arguments = []string{"<<EOF"} },
		"an argument with a line break":  func(d *dockerfile) { d.Arguments = []string{"--shared=/a\nRUN id"} },
		"an argument with an apostrophe": func(d *dockerfile) { d.Arguments = []string{"--shared='"} },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := newDockerfile(edit).text()
			require.Error(t, err)
		})
	}
}

func FuzzDockerfileText(f *testing.F) {
	f.Add(pinned, false, "/kiln/modelkiln-step", "--shared=/kiln")
	f.Add(pinned+"\nRUN id", true, `/x","y`, "<<EOF")
	f.Add("scratch", true, "/x", "--shared=/tmp/$X")
	f.Add("scratch\\", false, "/x\x00", "é")
	f.Fuzz(func(t *testing.T, base string, hasUser bool, program, argument string) {
		text, err := dockerfile{Base: base, HasUser: hasUser, Program: program, Arguments: []string{argument}, Layers: 3}.text()
		if err != nil {
			return
		}
		// Whatever is accepted gives these lines and no others, and nothing that a
		// parser of Dockerfiles would expand or continue.
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		instructions := make([]string, 0, len(lines))
		for _, line := range lines {
			instruction, _, _ := strings.Cut(line, " ")
			instructions = append(instructions, instruction)
		}
		want := []string{"FROM", "RUN", "RUN", "RUN", "RUN"}
		if len(lines) > len(want) {
			want = []string{"FROM", "USER", "RUN", "RUN", "RUN", "RUN"}
		}
		assert.Equal(t, want, instructions)
		assert.NotRegexp(t, "[\\\\$`<\r\x00]", text)
		assert.Len(t, strings.Fields(lines[0]), 2)
		for _, line := range lines {
			if strings.HasPrefix(line, "RUN ") {
				assert.Equal(t, 4*2, strings.Count(line, `"`), "four arguments: %s", line)
			}
		}
	})
}
