module validate

go 1.25
