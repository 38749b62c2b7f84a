// Go's net/http as it is by default, with bodies of known and of unknown length. Arguments: URL, token, body, requests.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	count, _ := strconv.Atoi(os.Args[4])
	for i := 0; i < count; i++ {
		var body io.Reader = strings.NewReader(os.Args[3])
		if i%2 == 1 {
			body = io.MultiReader(body) // its length is not known: in chunks
		}
		request, _ := http.NewRequest("POST", os.Args[1], body)
		request.Header.Set("Authorization", "Bearer "+os.Args[2])
		request.Header.Set("Content-Type", "application/json")
		if i%3 == 2 {
			request.Header.Set("Expect", "100-continue")
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		fmt.Println(answer.StatusCode, string(text))
	}
}
