//go:build !unix

package launcher

func stubborn() int { return 1 }
