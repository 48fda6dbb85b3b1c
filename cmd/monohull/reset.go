package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/monohull/monohull/internal/cluster"
)

func newReset() *cobra.Command {
	var dataDir string
	var keep, yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Remove every trace of the cluster on this machine",
		Long: `Remove every trace of the cluster on this machine: containers, mounts, links,
rules, control groups and the data directory. The server must not be running.

This deletes the cluster's data. There is no way back.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !yes {
				return fmt.Errorf("this deletes the cluster in %s and all its data; say --yes if that is what you want", dataDir)
			}
			if err := cluster.Reset(c.Context(), dataDir, keep); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "nothing is left of the cluster in %s\n", dataDir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir(), "the server's data directory")
	cmd.Flags().BoolVar(&keep, "keep-images", false, "keep the images that were pulled")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}
