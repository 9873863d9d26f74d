package check

func descriptorsChecks() []Check {
	return []Check{
		{"descriptors/not-granted", "without the feature fdpass everything is relayed over data connections", func(s *stand) { s.both(s.exchange) }},
	}
}
