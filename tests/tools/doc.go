// Package tools pins the tools that the repository is checked with (tools.mod)
// and holds the rules of the house that a linter cannot know, as tests. Each
// rule says its reason when it fails.
package tools
