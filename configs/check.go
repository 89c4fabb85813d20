package configs

func (c *Config) check() []Mistake { return nil }
