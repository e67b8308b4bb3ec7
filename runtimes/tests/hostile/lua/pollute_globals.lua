-- expect: thrown
return function()
  getmetatable(_G).__index.left = 1
end
