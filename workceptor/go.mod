module github.com/project-receptor/receptor/workceptor

go 1.26.0
