module github.com/project-receptor/receptor/tests/integration

go 1.26.0
